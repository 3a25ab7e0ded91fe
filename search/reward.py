"""What a candidate is worth to the controller. Nothing else decides it."""

from __future__ import annotations

import math

from spinesearch.search.scorer import Outcome


def reward_of(outcome: Outcome, *, metric: str, failed_reward: float) -> float | None:
    """The reward of a finished candidate; None if it completed without a finite value of the metric.

    Args:
        outcome: what its scoring came to.
        metric: the name of the metric that is the reward.
        failed_reward: the reward of a candidate that failed.
    """
    if outcome.metrics is None:
        return failed_reward
    value = outcome.metrics.get(metric)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
