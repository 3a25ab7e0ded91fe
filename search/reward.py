"""What a candidate is worth to the controller. Nothing else decides it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


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
