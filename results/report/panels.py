"""What a report shows of a run besides its candidates: finalists, rungs, coverage, failures, work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from spinesearch.results.finalists import Standing, finished_rerank, standings
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import Trial
from spinesearch.results.reasons import common_reasons
from spinesearch.results.report.candidates import cost_names
from spinesearch.results.rungs import rung_rows
from spinesearch.results.tables import (
    attempts_lost,
    finalist_lines,
    number_of,
    rerank_line,
    rerank_setting,
)

_NUM_BINS = 240  # of the time that a run took
_MAX_LOST = 100  # attempts that are listed, newest first


def finalists(run: Run) -> dict[str, Any] | None:
    """The newest finished re-ranking: scores with their errors, costs, baselines; None without any."""
    rerank = finished_rerank(run)
    if rerank is None:
        return None
    costs = cost_names(run)

    def row(standing: Standing) -> dict[str, Any]:
        trainings = standing.trainings
        known = [name for name in costs if trainings and all(name in t.metrics for t in trainings)]
        return {
            "trial": standing.candidate.trial if standing.candidate else None,
            "baseline": standing.baseline,
            "score": standing.score,
            "error": standing.standard_error,
            "is_tied": standing.is_tied,
            "values": [t.metrics[rerank.metric] for t in trainings],
            "costs": {name: sum(t.metrics[name] for t in trainings) / len(trainings) for name in known},
        }

    return {
        "metric": rerank.metric,
        "setting": rerank_setting(run, rerank),
        "rows": [row(standing) for standing in standings(run, rerank)],
        "notes": [*finalist_lines(run, rerank), *filter(None, [rerank_line(run)])],
    }


def rungs(run: Run) -> list[dict[str, Any]]:
    """A row for each length of training; none of a run without rungs."""
    return [
        {
            "length": "whole" if row.num_steps is None else f"{row.num_steps} steps",
            "trained": row.num_trained,
            "duplicate": row.num_repeated,
            "failed": row.num_failed,
            "stopped": row.num_stopped,
            "mean": sum(row.values) / len(row.values) if row.values else None,
            "best": max(row.values, default=None),
            "hours": row.seconds / 3600,
        }
        for row in rung_rows(run)
    ]


def failures(run: Run) -> list[dict[str, Any]]:
    """Why candidates failed, commonest reason first, and which did."""
    return [
        {"reason": reason, "trials": [trial.trial for trial in trials]}
        for reason, trials in common_reasons(run.trials)
    ]


def lost(run: Run) -> dict[str, Any]:
    """The attempts whose worker was lost: how many, and the newest ones."""
    attempts = attempts_lost(run)
    return {
        "count": len(attempts),
        "newest": [
            {
                "trial": number_of(trial),
                "attempt": attempt.attempt,
                "node": attempt.node,
                "worker": attempt.worker,
                "seconds": attempt.seconds,
                "reason": attempt.reason,
            }
            for trial, attempt in attempts[:_MAX_LOST]
        ],
    }


def work(run: Run) -> dict[str, Any] | None:
    """How many workers were busy over time, and hours in all; None before anything has ended.

    Returns:
        ``start`` and ``step`` in seconds, Unix time; ``busy``, the mean number in each step; ``hours`` of
        workers by what they were spent on; ``elapsed_hours`` from the first beginning to the last end, and of
        these ``active_hours`` in which somebody worked.
    """
    spans = {
        "candidates": [span for trial in run.trials for span in _trainings(trial)],
        "finalists": [span for trial in run.finalists for span in _trainings(trial)],
        "lost attempts": [(attempt.time, attempt.seconds) for _, attempt in attempts_lost(run)],
    }
    table = np.array([span for kind in spans.values() for span in kind], dtype=np.float64)
    if not len(table):
        return None
    ends, seconds = table.T
    begins = ends - seconds
    edges = np.linspace(begins.min(), ends.max(), _NUM_BINS + 1)
    step = float(edges[1] - edges[0]) or 1.0
    # Work that is done until each edge, of all together.
    done = np.array([np.clip(edge - begins, 0.0, seconds).sum() for edge in edges])
    return {
        "start": float(edges[0]),
        "step": step,
        "busy": [round(value, 3) for value in (np.diff(done) / step).tolist()],
        "hours": {kind: sum(length for _, length in found) / 3600 for kind, found in spans.items() if found},
        "elapsed_hours": float(edges[-1] - edges[0]) / 3600,
        "active_hours": _union(begins, ends) / 3600,
    }


def _trainings(trial: Trial) -> Iterator[tuple[float, float]]:
    """When the parts of a candidate's training ended, and how many seconds each took."""
    if trial.reused_from or trial.duplicate_of is not None:
        return
    for part in trial.rungs:
        if part.duplicate_of is None:
            yield part.time, part.seconds
    rest = trial.seconds - sum(part.seconds for part in trial.rungs)
    if trial.is_done and rest > 0:
        yield trial.time, rest


def _union(begins: np.ndarray[Any, Any], ends: np.ndarray[Any, Any]) -> float:
    """Length of the time that at least one span covers."""
    order = begins.argsort()
    begins, reached = begins[order], np.maximum.accumulate(ends[order])
    gaps = np.maximum(begins[1:] - reached[:-1], 0.0)
    return float(reached[-1] - begins[0] - gaps.sum())
