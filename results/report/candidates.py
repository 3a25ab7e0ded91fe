"""A run's candidates as columns, in the order of their numbers, and those that are marked and drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from spinesearch.results.drawing.architecture import draw_architecture
from spinesearch.results.finalists import final_ranking
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import Trial
from spinesearch.results.pareto import COSTS, pareto_front, recommended
from spinesearch.results.report.choices import choice_table, packed

_APS = ("ap", "ap50", "ap_small", "ap_medium", "ap_large")
_DIGITS = 6  # significant ones of what was measured
_FATES = {"proposed": "p", "completed": "c", "failed": "f", "duplicate": "d", "infeasible": "i"}


def cost_names(run: Run) -> list[str]:
    """What networks cost, by metric, as far as it is known of any."""
    return [name for name in COSTS if any(name in trial.metrics for trial in run.trials)]


def candidates(run: Run) -> dict[str, Any]:
    """Every candidate: choices, identities, fates, rewards, what the strategy predicted, metrics."""
    trials = run.trials
    settings = run.config["search"]
    # A reward that a cost target lowers is not the metric that it is named by.
    scores = {settings["reward_metric"]} if settings.get("cost_target") is not None else set()
    names = dict.fromkeys((*scores, *_APS, *cost_names(run)))
    metrics = [name for name in names if any(name in t.metrics for t in trials)]
    predictions = [t.info.get("prediction") for t in trials]
    return {
        "choices": choice_table(run.space),
        "tokens": "".join(packed(t.tokens) for t in trials),
        "arch_ids": "".join(t.arch_id for t in trials),
        "fates": "".join("s" if t.is_stopped else _FATES[t.status] for t in trials),
        "generations": [t.generation for t in trials],
        "rewards": [_short(t.reward) for t in trials],
        "seconds": [_short(t.seconds) for t in trials],
        "metrics": {name: [_short(t.metrics.get(name)) for t in trials] for name in metrics},
        "predictions": [_short(value) for value in predictions] if any(predictions) else None,
    }


def marked(run: Run, *, num_best: int) -> dict[str, Any]:
    """The numbers of the best candidates and of those on the fronts, and the best drawn.

    Args:
        run: the search.
        num_best: how many of the best, finalists first; those that the fronts recommend are drawn too.
    """
    metric = run.config["search"]["reward_metric"]
    fronts: dict[str, Any] = {}
    drawn = {trial.trial: trial for trial in final_ranking(run)[:num_best]}
    best = list(drawn)
    for cost in cost_names(run):
        if front := pareto_front(run.trials, metric=metric, cost=cost):
            choice = recommended(front, metric=metric, cost=cost)
            fronts[cost] = {"trials": [t.trial for t in front], "recommended": choice.trial}
            drawn[choice.trial] = choice
    return {
        "best": best,
        "fronts": fronts,
        "drawings": {number: _drawing(run, trial) for number, trial in drawn.items()},
    }


def prediction_quality(run: Run) -> dict[str, Any] | None:
    """How well the strategy predicted rewards before they were known; None if it did not."""
    pairs = [
        (t.info["prediction"], t.reward)
        for t in run.trials
        if "prediction" in t.info and t.status == "completed" and t.reward is not None and not t.is_stopped
    ]
    if len(pairs) < 2:
        return None
    predicted, observed = np.array(pairs, dtype=np.float64).T
    varies = predicted.std() > 0 and observed.std() > 0
    return {
        "count": len(pairs),
        "error": float(np.sqrt(np.mean((predicted - observed) ** 2))),
        "correlation": float(np.corrcoef(predicted, observed)[0, 1]) if varies else None,
    }


def updates(run: Run) -> dict[str, Sequence[float | None]]:
    """What the strategy logged at its updates, by name."""
    names = dict.fromkeys(name for update in run.updates for name in update.stats)
    return {name: [_short(update.stats.get(name)) for update in run.updates] for name in names}


def _drawing(run: Run, trial: Trial) -> str:
    return draw_architecture(run.spec(trial), title=f"trial {trial.trial}")


def _short(value: Any) -> float | int | None:
    """A number in few digits; None for none, and for what is not finite, which JSON cannot say."""
    if value is None or isinstance(value, int):
        return value
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
