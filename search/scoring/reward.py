"""What a candidate is worth to the controller, and what the ledger says of it. Nothing else decides it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from numbers import Real
from typing import Any

from spinesearch.results.ledger.trial import RungResult, Trial
from spinesearch.search.config.rungs import Rung
from spinesearch.search.scoring.scorer import BegunAttempt, LostAttempt, ScorerEvent


def metric_value(metrics: Mapping[str, Any] | None, metric: str) -> float | None:
    """The metric of a candidate that completed; None if it failed or has no finite value of it."""
    value = None if metrics is None else metrics.get(metric)
    return float(value) if isinstance(value, Real) and math.isfinite(value) else None


def reward_of(metrics: Mapping[str, Any] | None, *, metric: str, failed_reward: float) -> float:
    """The reward of a finished candidate.

    Args:
        metrics: by name; None if it failed.
        metric: the name of the metric that is the reward.
        failed_reward: the reward of a candidate that failed or has no finite value of the metric.
    """
    value = metric_value(metrics, metric)
    return failed_reward if value is None else value


def stopped_reward(rungs: Sequence[RungResult], *, metric: str) -> float:
    """The reward of a candidate that was stopped at a rung: what it had come to there.

    Its value is that of a shorter training, and with it nearly always lower than that of those that went on:
    the controller learns the order in which the rungs have put them. Nothing is added for what it might
    have become, as the rungs say nothing of that.

    Args:
        rungs: its results at all rungs that it passed, the last of which stopped it.
        metric: the name of the metric that is the reward.
    """
    value = metric_value(rungs[-1].metrics, metric)
    assert value is not None, "a candidate without a value has failed, and passes no rung"
    return value


def ended_event(
    ended: ScorerEvent, trial: Trial, rungs: Sequence[Rung] = (), *, metric: str, failed_reward: float
) -> dict[str, Any]:
    """The ledger's event of what a scorer reports, but for its time.

    Args:
        ended: a candidate's outcome, or an attempt at it that begins or was lost.
        trial: the candidate.
        rungs: of the run.
        metric: the name of the metric that is the reward; without a finite value of it, the candidate failed.
        failed_reward: the reward then. A candidate that was lost with its workers has none.
    """
    if isinstance(ended, BegunAttempt):
        return {"event": "attempt", "begin": True, **asdict(ended)}
    if isinstance(ended, LostAttempt):
        return {"event": "attempt", **asdict(ended)}
    event: dict[str, Any] = {
        "trial": ended.trial,
        "attempts": ended.attempts,
        "node": ended.node,
        "worker": ended.worker,
        "seconds": ended.seconds,
    }
    is_completed = ended.metrics is not None and metric_value(ended.metrics, metric) is not None
    metrics = _finite(ended.metrics or {})
    rung = len(trial.rungs)
    if is_completed and rung < len(rungs):
        place = {"rung": rung, "num_steps": rungs[rung].num_steps}
        return {"event": "rung", **event, **place, "metrics": metrics}
    event |= {
        "event": "result",
        "seconds": round(ended.seconds + sum(part.seconds for part in trial.rungs), 3),
        "reward": reward_of(ended.metrics, metric=metric, failed_reward=failed_reward),
    }
    if is_completed:
        return event | {"status": "completed", "metrics": metrics}
    event |= {"status": "failed", "reason": ended.reason or f"it has no finite {metric}"}
    return event | {"reward": None, "failed_by": "infrastructure"} if ended.is_lost else event


def stopped_event(trial: Trial, *, metric: str) -> dict[str, Any]:
    """The result, but for its time, of a candidate that does not go on from the last rung that it passed."""
    last = trial.rungs[-1]
    event: dict[str, Any] = {
        "event": "result",
        "trial": trial.trial,
        "status": "completed",
        "is_stopped": True,
        "reward": stopped_reward(trial.rungs, metric=metric),
        "metrics": dict(last.metrics),
    }
    if last.duplicate_of is not None:
        return event | {"status": "duplicate", "duplicate_of": last.duplicate_of}
    seconds = round(sum(part.seconds for part in trial.rungs), 3)
    return event | {"attempts": last.attempts, "node": last.node, "worker": last.worker, "seconds": seconds}


def _finite(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics, with None for numbers that JSON does not have."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in metrics.items()}
