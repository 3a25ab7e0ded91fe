"""How long trainings took, by what is on record of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from spinesearch.results.ledger.trial import RungResult, Trial


class TrainingTime(NamedTuple):
    """Of one training.

    Attributes:
        step_s: seconds per step.
        other_s: seconds of what came on top of the steps: building, statistics, evaluation.
    """

    step_s: float
    other_s: float


def training_time(seconds: float, metrics: Mapping[str, Any]) -> TrainingTime:
    """The time of a training that took so long in all; all of it is on top where there were no steps.

    Args:
        seconds: in all.
        metrics: its own; ``train_seconds`` and ``num_steps`` are used if they are there.
    """
    num_steps, train_s = metrics.get("num_steps"), metrics.get("train_seconds")
    if not num_steps or train_s is None:
        return TrainingTime(0.0, seconds)
    return TrainingTime(train_s / num_steps, max(0.0, seconds - train_s))


def timed_parts(trials: Iterable[Trial]) -> Iterator[Trial | RungResult]:
    """Those that completed and were trained by the run itself, the earliest first.

    Of a training in parts it is the first part, as the others may have gone on from it.
    """
    trained = [trial for trial in trials if trial.status == "completed" and not trial.reused_from]
    for trial in sorted(trained, key=lambda trial: trial.time):
        yield trial.rungs[0] if trial.rungs else trial
