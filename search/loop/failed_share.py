"""The stop of a search whose candidates fail too often: the fault is hardly theirs."""

from __future__ import annotations

from collections.abc import Sequence

from spinesearch.results.failures import common_reasons
from spinesearch.results.ledger.run import Trial
from spinesearch.search.scoring.scorer import EngineError

_LEAST_FAILED = 3  # fewer prove nothing: one of two is half of a small generation
_NUM_REASONS = 3


def check_failed_share(generation: int, trials: Sequence[Trial], max_failed_share: float) -> None:
    """Check that not too many of a generation failed.

    Meant for the moment at which the generation is first learnt from. Its results are in the ledger then, so
    resuming neither repeats them nor stops at them again: the run goes on with the next generation.

    Args:
        generation: its number.
        trials: all of it, with their results. Duplicates do not count, neither as failed nor as trained.
        max_failed_share: in 0..1; 1 allows everything.

    Raises:
        EngineError: more failed, and at least three; the message has the commonest reasons.
    """
    num_failed = sum(trial.status == "failed" for trial in trials)
    num_trained = sum(trial.status in ("failed", "completed") for trial in trials)
    if num_failed < _LEAST_FAILED or num_failed <= max_failed_share * num_trained:
        return
    reasons = "; ".join(f"{len(group)} x {reason}" for reason, group in common_reasons(trials)[:_NUM_REASONS])
    raise EngineError(
        f"generation {generation}: {num_failed} of {num_trained} candidates failed, "
        f"{num_failed / num_trained:.0%} where search.max_failed_share allows {max_failed_share:.0%}: "
        f"{reasons}. Mend the cause, then resume: the search goes on with what is left to do, these results "
        "stay as they are; search.max_failed_share=1 never stops"
    )
