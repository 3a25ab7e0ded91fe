"""What a candidate is worth to the controller, and what the ledger says of it. Nothing else decides it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any

from spinesearch.proxy_task.request import INFEASIBLE, LATENCY_DEVICE, LATENCY_MS
from spinesearch.results.ledger.trial import RungResult, Trial
from spinesearch.search.config.rungs import Rung
from spinesearch.search.scoring.scorer import BegunAttempt, EngineError, LostAttempt, Outcome, ScorerEvent


def metric_value(metrics: Mapping[str, Any] | None, metric: str) -> float | None:
    """The metric of a candidate that completed; None if it failed or has no finite value of it."""
    value = None if metrics is None else metrics.get(metric)
    return float(value) if isinstance(value, Real) and math.isfinite(value) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class SoftCost:
    """What multiply-adds do to a reward: times (cost / target) ** weight (MnasNet, arXiv 1807.11626).

    Attributes:
        target: multiply-adds at which nothing changes.
        weight: negative, so that what costs more is worth less; MnasNet has -0.07.
    """

    target: float
    weight: float

    def factor(self, metrics: Mapping[str, Any]) -> float:
        """On the reward of a candidate with these metrics."""
        return float((metrics["num_multiply_adds"] / self.target) ** self.weight)


def soft_cost_of(target: float | None, weight: float) -> SoftCost | None:
    """As the settings have it; None without a target."""
    return None if target is None else SoftCost(target=target, weight=weight)


def reward_of(
    metrics: Mapping[str, Any] | None,
    *,
    metric: str,
    failed_reward: float,
    soft_cost: SoftCost | None = None,
) -> float:
    """The reward of a finished candidate.

    Args:
        metrics: by name; None if it failed.
        metric: the name of the metric that is the reward.
        failed_reward: the reward of a candidate that failed or has no finite value of the metric.
        soft_cost: by what its cost lowers it; None for not at all.
    """
    value = metric_value(metrics, metric)
    if metrics is None or value is None:
        return failed_reward
    return value if soft_cost is None else value * soft_cost.factor(metrics)


def rung_reward(part: RungResult, *, metric: str, soft_cost: SoftCost | None) -> float:
    """The reward of a candidate at a rung, by which it is compared, and which it has if it stops there.

    It is what it has come to so far. That is the value of a shorter training, and with it nearly always lower
    than that of those that go on: the controller learns the order in which the rungs have put them. Nothing
    is added for what it might have become, as the rungs say nothing of that.

    Args:
        part: its result there.
        metric: the name of the metric that is the reward.
        soft_cost: as in `reward_of`.
    """
    assert metric_value(part.metrics, metric) is not None, "without a value it has failed, and passes no rung"
    return reward_of(part.metrics, metric=metric, failed_reward=0.0, soft_cost=soft_cost)


def recorded_rung_reward(part: RungResult, config: Mapping[str, Any]) -> float:
    """`rung_reward` in a run of this recorded configuration."""
    search = config["search"]
    soft_cost = soft_cost_of(search.get("cost_target"), search.get("cost_weight", 0.0))
    return rung_reward(part, metric=search["reward_metric"], soft_cost=soft_cost)


def ended_event(
    ended: ScorerEvent,
    trial: Trial,
    rungs: Sequence[Rung] = (),
    *,
    metric: str,
    failed_reward: float,
    soft_cost: SoftCost | None = None,
) -> dict[str, Any]:
    """The ledger's event of what a scorer reports, but for its time.

    Args:
        ended: a candidate's outcome, or an attempt at it that begins or was lost.
        trial: the candidate.
        rungs: of the run.
        metric: the name of the metric that is the reward; without a finite value of it, the candidate failed.
        failed_reward: the reward then. A candidate that was lost with its workers has none.
        soft_cost: as in `reward_of`.
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
    for said_apart in (LATENCY_MS, LATENCY_DEVICE):  # by `latency_event`
        metrics.pop(said_apart, None)
    rung = len(trial.rungs)
    if is_completed and rung < len(rungs):
        place = {"rung": rung, "num_steps": rungs[rung].num_steps}
        return {"event": "rung", **event, **place, "metrics": metrics}
    if INFEASIBLE in metrics:
        return event | {
            "event": "result",
            "status": "infeasible",
            "reward": None,
            "reason": metrics[INFEASIBLE],
        }
    event |= {
        "event": "result",
        "seconds": round(ended.seconds + sum(part.seconds for part in trial.rungs), 3),
        "reward": reward_of(ended.metrics, metric=metric, failed_reward=failed_reward, soft_cost=soft_cost),
    }
    if is_completed:
        return event | {"status": "completed", "metrics": metrics}
    event |= {"status": "failed", "reason": ended.reason or f"it has no finite {metric}"}
    return event | {"reward": None, "failed_by": "infrastructure"} if ended.is_lost else event


def latency_event(ended: ScorerEvent, trial: Trial, known_device: str | None) -> dict[str, Any] | None:
    """The ledger's event of a latency that was measured with a candidate, but for its time; None without.

    Args:
        ended: what a scorer reports.
        trial: the candidate.
        known_device: on which those so far were measured; None before the first.

    Raises:
        EngineError: it was measured on another kind of device than those.
    """
    metrics = (ended.metrics if isinstance(ended, Outcome) else None) or {}
    if LATENCY_MS not in metrics:
        return None
    device = metrics[LATENCY_DEVICE]
    if known_device not in (None, device):
        raise EngineError(
            f"search.max_latency_ms: trial {trial.trial} was measured on {device}, those before it on "
            f"{known_device}, and latencies of different devices do not compare; give the run workers of one "
            "kind (search.resources_per_trial), or begin one with search.latency_table=FILE"
        )
    return {"event": "latency", "arch_id": trial.arch_id, "ms": metrics[LATENCY_MS], "device": device}


def stopped_event(trial: Trial, reward: float) -> dict[str, Any]:
    """The result, but for its time, of a candidate that does not go on from the last rung that it passed.

    Args:
        trial: the candidate.
        reward: of `rung_reward`.
    """
    last = trial.rungs[-1]
    event: dict[str, Any] = {
        "event": "result",
        "trial": trial.trial,
        "status": "completed",
        "is_stopped": True,
        "reward": reward,
        "metrics": dict(last.metrics),
    }
    if last.duplicate_of is not None:
        return event | {"status": "duplicate", "duplicate_of": last.duplicate_of}
    seconds = round(sum(part.seconds for part in trial.rungs), 3)
    return event | {"attempts": last.attempts, "node": last.node, "worker": last.worker, "seconds": seconds}


def _finite(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics, with None for numbers that JSON does not have."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in metrics.items()}
