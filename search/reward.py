"""What a candidate is worth to the controller, and what the ledger says of it. Nothing else decides it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from spinesearch.search.scorer import Outcome


def metric_value(metrics: Mapping[str, Any] | None, metric: str) -> float | None:
    """The metric of a candidate that completed; None if it failed or has no finite value of it."""
    value = None if metrics is None else metrics.get(metric)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def reward_of(metrics: Mapping[str, Any] | None, *, metric: str, failed_reward: float) -> float:
    """The reward of a finished candidate.

    Args:
        metrics: by name; None if it failed.
        metric: the name of the metric that is the reward.
        failed_reward: the reward of a candidate that failed or has no finite value of the metric.
    """
    value = metric_value(metrics, metric)
    return failed_reward if value is None else value


def result_event(outcome: Outcome, *, metric: str, failed_reward: float) -> dict[str, Any]:
    """The ledger's ``result`` event of a finished candidate, but for its time.

    Args:
        outcome: what scoring it came to.
        metric: the name of the metric that is the reward; without a finite value of it, it failed.
        failed_reward: the reward then.
    """
    event: dict[str, Any] = {
        "event": "result",
        "trial": outcome.trial,
        "attempts": outcome.attempts,
        "worker": outcome.worker,
        "seconds": outcome.seconds,
        "reward": reward_of(outcome.metrics, metric=metric, failed_reward=failed_reward),
    }
    if outcome.metrics is not None and metric_value(outcome.metrics, metric) is not None:
        return event | {"status": "completed", "metrics": _finite(outcome.metrics)}
    return event | {"status": "failed", "reason": outcome.reason or f"it has no finite {metric}"}


def _finite(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics, with None for numbers that JSON does not have."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in metrics.items()}
