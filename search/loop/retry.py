"""What has failed and is tried again because somebody asked for it: `spinesearch retry`."""

from __future__ import annotations

from spinesearch.results.finalists import identities, trainings_of
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import Trial
from spinesearch.search.loop.networks import trained
from spinesearch.search.loop.source import Step

_REASON = "they had failed and `spinesearch retry` was given"


def failed_trials(run: Run) -> list[int]:
    """The numbers of the trials that have failed, and of those that took over their results.

    A network that has completed as another trial is not trained again.
    """
    completed = {trained(trial) for trial in run.trials if trial.status == "completed"}
    failed = {t.trial for t in run.trials if t.status == "failed" and trained(t) not in completed}
    return [t.trial for t in run.trials if t.trial in failed or t.duplicate_of in failed]


def failed_finalists(run: Run) -> list[Trial]:
    """The trainings of the newest re-ranking that have failed, and were not tried again since."""
    if not run.reranks:
        return []
    rerank = run.reranks[-1]
    trainings = trainings_of(run, rerank)
    wanted = [(arch_id, seed) for seed in rerank.seeds for arch_id in identities(run, rerank)]
    return [trial for key in wanted if (trial := trainings.get(key)) and trial.status == "failed"]


def retry_step(run: Run) -> Step:
    """The step that opens the failed trials again; an empty one where none has failed."""
    trials = failed_trials(run)
    return Step(events=[{"event": "reopen", "trials": trials, "reason": _REASON}] if trials else [])
