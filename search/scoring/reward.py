"""What a candidate is worth to the controller, and what the ledger says of it. Nothing else decides it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from numbers import Real
from typing import Any

from spinesearch.search.scoring.scorer import LostAttempt, Outcome


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


def ended_event(ended: Outcome | LostAttempt, *, metric: str, failed_reward: float) -> dict[str, Any]:
    """The ledger's event of what a scorer reports, but for its time.

    Args:
        ended: a candidate's outcome, or an attempt at it that was lost.
        metric: the name of the metric that is the reward; without a finite value of it, the candidate failed.
        failed_reward: the reward then. A candidate that was lost with its workers has none.
    """
    if isinstance(ended, LostAttempt):
        return {"event": "attempt", **asdict(ended)}
    event: dict[str, Any] = {
        "event": "result",
        "trial": ended.trial,
        "attempts": ended.attempts,
        "node": ended.node,
        "worker": ended.worker,
        "seconds": ended.seconds,
        "reward": reward_of(ended.metrics, metric=metric, failed_reward=failed_reward),
    }
    if ended.metrics is not None and metric_value(ended.metrics, metric) is not None:
        return event | {"status": "completed", "metrics": _finite(ended.metrics)}
    event |= {"status": "failed", "reason": ended.reason or f"it has no finite {metric}"}
    return event | {"reward": None, "failed_by": "infrastructure"} if ended.is_lost else event


def _finite(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics, with None for numbers that JSON does not have."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in metrics.items()}
