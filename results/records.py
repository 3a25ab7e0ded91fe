"""A run as plain data, for other programs: `record` (JSON), `rows` and `write_csv` (a row per candidate)."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from spinesearch.results.finalists import final_ranking, final_standings
from spinesearch.results.ledger.lines import Event
from spinesearch.results.ledger.run import Run
from spinesearch.results.overview import overview_of

_STATUSES = ("completed", "duplicate", "failed", "infeasible", "proposed")


def record(run: Run, run_dir: Path, *, top: int) -> dict[str, Any]:
    """What `spinesearch show` prints, as plain data.

    Args:
        run: the run in the folder.
        run_dir: its folder.
        top: how many of the best.
    """
    found: dict[str, Any] = {**overview_of(run, run_dir).to_dict(), "config": dict(run.config)}
    if run.training is not None:
        return found | {"training": dict(run.training), "measurements": list(rows(run))}
    counts = {status: sum(trial.status == status for trial in run.trials) for status in _STATUSES}
    found |= {"candidates": counts, "updates": len(run.updates)}
    if run.study is not None:
        return found | {"study": dict(run.study)}
    by_number = {row["trial"]: row for row in rows(run)}
    found["leaderboard"] = [by_number[trial.trial] for trial in final_ranking(run)[:top]]
    if finalists := final_standings(run):
        found["finalists"] = [
            {
                "trial": row.candidate.trial if row.candidate else None,
                "baseline": row.baseline,
                "score": row.score,
                "standard_error": row.standard_error,
                "is_tied": row.is_tied,
            }
            for row in finalists
        ]
    return found


def rows(run: Run) -> Iterator[dict[str, Any]]:
    """A row for each candidate in the order of its number, or for each measurement of a training.

    All rows of a run have the same columns. ``metric_*`` are what a candidate's training reported, those of
    its last rung where it stopped there; ``score`` and ``score_se`` are of the newest finished re-ranking.
    None where there is no value.
    """
    if run.training is not None:
        yield from map(_measurement, run.measurements)
        return
    names = sorted({name for t in run.trials for name, value in t.metrics.items() if _is_plain(value)})
    scores = {row.candidate.trial: row for row in final_standings(run) if row.candidate is not None}
    sides = {"side", "seed"} if run.study is not None else set()
    for trial in run.trials:
        standing = scores.get(trial.trial)
        yield {
            "trial": trial.trial,
            "generation": trial.generation,
            **{name: getattr(trial, name) for name in sorted(sides)},
            "status": trial.status,
            "reward": trial.reward,
            "score": None if standing is None else standing.score,
            "score_se": None if standing is None else standing.standard_error,
            **{f"metric_{name}": trial.metrics.get(name) for name in names},
            "is_stopped": trial.is_stopped,
            "num_rungs": len(trial.rungs),
            "duplicate_of": trial.duplicate_of,
            "reused_from": trial.reused_from,
            "reason": trial.reason,
            "failed_by": trial.failed_by if trial.status == "failed" else "",
            "attempts": trial.attempts,
            "node": trial.node,
            "worker": trial.worker,
            "seconds": trial.seconds,
            "time": trial.time or None,
            "arch_id": trial.arch_id,
            "tokens": list(trial.tokens),
        }


def _measurement(event: Event) -> dict[str, Any]:
    of_classes = {f"AP of {name}": ap for name, ap in event["class_aps"].items()}
    place = {name: event[name] for name in ("epoch", "step", "loss", "time")}
    return {**place, **event["scores"], **of_classes}


def write_csv(found: Iterable[Mapping[str, Any]], file: TextIO) -> None:
    """Write rows; what is None is empty, and the parts of a list stand with blanks between them."""
    writer: csv.DictWriter[str] | None = None
    for row in found:
        if writer is None:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            writer.writeheader()
        lists = {name: " ".join(map(str, value)) for name, value in row.items() if isinstance(value, list)}
        writer.writerow({**row, **lists})


def _is_plain(value: object) -> bool:
    """Whether a metric fits a cell."""
    return value is None or isinstance(value, bool | int | float | str)
