"""Which trial of a network trains what, so that nothing is trained twice: `Networks`."""

from __future__ import annotations

from typing import Any

from spinesearch.results.ledger.trial import Trial

Trained = tuple[str, int | None, str]
"""A network; in a study on a side, with a seed."""


def trained(trial: Trial) -> Trained:
    """What a trial trains."""
    return trial.side, trial.seed, trial.arch_id


class Networks:
    """The trials that have been handed out, by network, in candidate order."""

    def __init__(self) -> None:
        self._trials: dict[Trained, dict[int, Trial]] = {}

    def add(self, trial: Trial) -> None:
        """Take note of the next trial; of one that only repeated another nothing can be taken over."""
        if trial.status != "duplicate":
            self._trials.setdefault(trained(trial), {})[trial.trial] = trial

    def ended(self, trial: Trial) -> list[Trial]:
        """Take note that a trial has its result; the trials of its network, if all have, else none."""
        of_network = self._trials[trained(trial)]
        if trial.status == "duplicate":
            del of_network[trial.trial]
        return list(of_network.values()) if all(other.is_done for other in of_network.values()) else []

    def ahead_of(self, trial: Trial) -> Trial | None:
        """The earlier trial that has the result of this one's next training, or is to have it; None if none.

        A trial that the infrastructure failed has none, nor has one that was stopped before.
        """
        rung = len(trial.rungs)
        for other in self._trials[trained(trial)].values():
            if other is trial:
                return None
            if not other.is_masked and (not other.is_done or other.rung >= rung):
                return other
        return None


def taken_over(trial: Trial, other: Trial) -> dict[str, Any] | None:
    """The event, but for its time, by which a trial takes over a training of another's, if that has ended."""
    rung = len(trial.rungs)
    if len(other.rungs) > rung:
        part = other.rungs[rung]
        return {
            "event": "rung",
            "trial": trial.trial,
            "rung": rung,
            "num_steps": part.num_steps,
            "duplicate_of": other.trial if part.duplicate_of is None else part.duplicate_of,
            "metrics": dict(part.metrics),
            "files": dict(part.files),
        }
    if not other.is_done:
        return None
    if other.status == "infeasible":  # too slow, as has been measured since this one was proposed
        fields = {"status": "infeasible", "reward": None, "reason": other.reason}
        return {"event": "result", "trial": trial.trial, **fields}
    return {
        "event": "result",
        "trial": trial.trial,
        "status": "duplicate",
        "duplicate_of": other.trial,
        "reward": other.reward,
        "metrics": dict(other.metrics),
    }
