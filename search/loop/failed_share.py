"""Stopping a search whose candidates fail too often, or are all too slow: the fault is hardly theirs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import Trial
from spinesearch.results.reasons import common_reasons
from spinesearch.search.scoring.scorer import EngineError

_LEAST_FAILED = 3  # fewer prove nothing: one of two is half of a small generation
_LEAST_COUNTED = 8  # trained candidates, where a generation has fewer
_NUM_REASONS = 3


class TooManyFailedError(EngineError):
    """Most of what was trained failed; trying again without a change would only use up candidates."""

    exit_code = 3


class AllTooSlowError(EngineError):
    """Nothing that was measured keeps to the limit on latency; going on would only use up candidates."""

    exit_code = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedShare:
    """How many of the last trained candidates may fail.

    Attributes:
        generation_size: candidates per update; so many are counted, and at least 8.
        max_share: in 0..1; 1 allows everything.
    """

    generation_size: int
    max_share: float

    def excess(self, trials: Sequence[Trial], accepted: Set[int] = frozenset()) -> list[Trial]:
        """The trials counted, if too many of them failed; else none.

        Args:
            trials: all up to the last that is counted, in order. Duplicates do not count, neither as failed
                nor as trained. With rungs the first one counts: what fails later has been trained.
            accepted: trials that are not counted either.
        """
        trained = (
            trial
            for trial in reversed(trials)
            if trial.status in ("failed", "completed") and trial.trial not in accepted
        )
        newest_first = list(itertools.islice(trained, self._num_counted))
        counted = newest_first[::-1]
        num_failed = sum(map(_has_failed, counted))
        is_excess = num_failed >= _LEAST_FAILED and num_failed > self.max_share * len(counted)
        return counted if is_excess else []

    def check(self, run: Run, generation: int, accepted: Set[int]) -> None:
        """Check a generation before it is learnt from, when all its results are in.

        Earlier failures count, but they alone stop nothing: they have been learnt from.

        Args:
            run: the run.
            generation: its number.
            accepted: trials whose failure has been accepted.

        Raises:
            TooManyFailedError: too many failed; the message has the commonest reasons.
        """
        counted, recent = self._stopping(run, generation, accepted)
        if not recent:
            return
        share = sum(map(_has_failed, counted)) / len(counted)
        if all(trial.is_reopened for trial in recent):
            what_next = "They were tried once more already: resumed, the search learns from them as failures"
        else:
            what_next = "Fix the cause, then resume: the failed ones not learnt from yet are tried once more"
        raise TooManyFailedError(
            f"{_summary(counted)}, {share:.0%} where search.max_failed_share allows {self.max_share:.0%}. "
            f"{what_next}; search.max_failed_share=1 never stops"
        )

    def check_latencies(self, run: Run, generation: int, max_latency_ms: float) -> None:
        """Check what was measured before a generation is learnt from, when all its results are in.

        Args:
            run: the run.
            generation: its number.
            max_latency_ms: the limit.

        Raises:
            AllTooSlowError: all are over it, and they are at least as many networks as `excess` counts.
        """
        trials = run.trials[: (generation + 1) * self.generation_size]
        measured = {t.arch_id: run.latencies[t.arch_id] for t in trials if t.arch_id in run.latencies}
        if self.max_share == 1 or len(measured) < self._num_counted:
            return
        fastest = min(measured.values())
        if fastest.ms <= max_latency_ms:
            return
        raise AllTooSlowError(
            f"search.max_latency_ms: all {len(measured)} networks measured are over it: the fastest takes "
            f"{fastest.ms:g} ms on {fastest.device}, the limit is {max_latency_ms:g}. Begin a new run with a "
            "higher one, or with narrower networks (proxy_task.filter_size_scale); if some are known to keep "
            "to it, search.max_failed_share=1 goes on"
        )

    def accepted(self, run: Run) -> frozenset[int]:
        """The failed trials that no longer stop a resumed run.

        They were learnt from before they were reopened, or tried once more already, or their network has
        completed as another trial, or they were learnt from although too many had failed: by an earlier
        release, or with another share.
        """
        completed = {trial.arch_id for trial in run.trials if trial.status == "completed"}
        failed = [trial for trial in run.trials if _has_failed(trial)]
        accepted = {t.trial for t in failed if t.is_reopened or t.arch_id in completed}
        accepted |= {t.trial for t in run.trials if t.learnt is not None}
        # Update by update, as they were checked: what a search like this one was allowed to learn from still
        # counts when the next generation fails.
        for generation in sorted({trial.generation for trial in failed} & set(range(len(run.updates)))):
            if self._stopping(run, generation, accepted)[1]:
                accepted |= {trial.trial for trial in failed if trial.generation <= generation}
        return frozenset(accepted)

    def to_reopen(self, run: Run) -> tuple[list[int], str]:
        """The trials that a resumed run tries once more, and why; none if not too many failed.

        They are the failed ones that were not learnt from and not reopened before, of whatever generation,
        and their duplicates. A network that completed as another trial is not trained again.
        """
        learnt = len(run.updates)
        due = run.trials[learnt * self.generation_size : (learnt + 1) * self.generation_size]
        if not all(trial.is_done for trial in due):
            return [], ""
        accepted = self.accepted(run)
        counted = self.excess(run.trials[: (learnt + 1) * self.generation_size], accepted)
        failed = {
            trial.trial
            for trial in run.trials[learnt * self.generation_size :]
            if _has_failed(trial) and trial.trial not in accepted
        }
        if not counted or not failed:
            return [], ""
        reopened = [t.trial for t in run.trials if t.trial in failed or t.duplicate_of in failed]
        return reopened, _summary(counted)

    @property
    def _num_counted(self) -> int:
        return max(self.generation_size, _LEAST_COUNTED)

    def _stopping(self, run: Run, generation: int, accepted: Set[int]) -> tuple[list[Trial], list[Trial]]:
        """The trials counted if too many failed up to a generation, and those of it that failed.

        Without any of the second, nothing stops.
        """
        counted = self.excess(run.trials[: (generation + 1) * self.generation_size], accepted)
        return counted, [t for t in counted if t.generation == generation and _has_failed(t)]


def _has_failed(trial: Trial) -> bool:
    """Whether a candidate failed at once; one that passed a rung has shown that the setting works."""
    return trial.status == "failed" and trial.rung == 0


def _summary(trials: Iterable[Trial]) -> str:
    trials = list(trials)
    num_failed = sum(map(_has_failed, trials))
    reasons = "; ".join(f"{len(group)} x {reason}" for reason, group in common_reasons(trials)[:_NUM_REASONS])
    return f"{num_failed} of the last {len(trials)} candidates failed ({reasons})"
