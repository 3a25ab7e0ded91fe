"""What a better network costs: the front of a metric against a cost."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import Trial

# Costs among the metrics, with what people call them. Not every run has latencies.
COSTS = {
    "num_multiply_adds": "multiply-adds",
    "num_parameters": "parameters",
    "latency_ms": "latency in ms",
}
# MnasNet's (arXiv 1807.11626): twice the cost has to bring 5 % more of the metric.
_EXCHANGE_RATE = -0.07


def pareto_front(trials: Sequence[Trial], *, metric: str, cost: str) -> list[Trial]:
    """The wholly trained trials that no other is at once as cheap and better than, the cheapest first.

    Args:
        trials: of a search.
        metric: by name, whatever the reward was.
        cost: a metric, one of `COSTS`.
    """
    whole = [trial for trial in trials if trial.status == "completed" and not trial.is_stopped]
    scored = [trial for trial in whole if None not in _point(trial, metric, cost)]
    front: list[Trial] = []
    for trial in sorted(scored, key=lambda t: (t.metrics[cost], -t.metrics[metric], t.trial)):
        if not front or trial.metrics[metric] > front[-1].metrics[metric]:
            front.append(trial)
    return front


def recommended(front: Sequence[Trial], *, metric: str, cost: str) -> Trial:
    """The trial of a front at which the metric is worth its cost: twice the cost for 5 % more."""
    return max(front, key=lambda t: t.metrics[metric] * t.metrics[cost] ** _EXCHANGE_RATE)


def pareto_table(run: Run, *, cost: str) -> Table | None:
    """The front of the reward's metric; None without a completed candidate."""
    metric = run.config["search"]["reward_metric"]
    front = pareto_front(run.trials, metric=metric, cost=cost)
    if not front:
        return None
    best_buy = recommended(front, metric=metric, cost=cost)
    unit = COSTS[cost]
    table = Table(box=box.SIMPLE_HEAD, title=f"{metric} against {unit}", title_justify="left")
    for name in (unit, metric, "trial", "arch_id", ""):
        table.add_column(name, justify="left" if name in ("arch_id", "") else "right")
    for trial in front:
        table.add_row(
            f"{trial.metrics[cost]:,}",
            f"{trial.metrics[metric]:.4f}",
            str(trial.trial),
            trial.arch_id,
            "recommended" if trial is best_buy else "",
        )
    return table


def _point(trial: Trial, metric: str, cost: str) -> tuple[object, object]:
    return trial.metrics.get(metric), trial.metrics.get(cost)
