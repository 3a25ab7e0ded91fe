"""What became of a run's candidates at each rung: `rung_rows`, and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from spinesearch.results.ledger.run import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class RungRow:
    """What became of candidates at one length of training.

    Attributes:
        num_steps: the length; None of the whole training.
        num_trained: networks that were trained so far.
        num_repeated: candidates that took over another's result.
        num_failed: that failed on the way there.
        num_stopped: that were not trained any further; None of the whole training.
        values: of the reward's metric.
        seconds: that it took, all together.
    """

    num_steps: int | None
    num_trained: int
    num_repeated: int
    num_failed: int
    num_stopped: int | None
    values: Sequence[float]
    seconds: float


def rung_rows(run: Run) -> list[RungRow]:
    """A row for each length of training, the whole one last; none of a run without rungs."""
    lengths = sorted({part.num_steps for trial in run.trials for part in trial.rungs})
    if not lengths:
        return []
    metric = run.config["search"]["reward_metric"]
    rows = []
    for number, length in enumerate(lengths):
        parts = [trial.rungs[number] for trial in run.trials if len(trial.rungs) > number]
        num_repeated = sum(part.duplicate_of is not None for part in parts)
        ended = [trial for trial in run.trials if trial.is_done and trial.rung == number]
        rows.append(
            RungRow(
                num_steps=length,
                num_trained=len(parts) - num_repeated,
                num_repeated=num_repeated,
                num_failed=sum(trial.status == "failed" for trial in ended),
                num_stopped=sum(trial.is_stopped for trial in ended),
                values=[part.metrics[metric] for part in parts],
                seconds=sum(part.seconds for part in parts),
            )
        )
    whole = [trial for trial in run.trials if trial.is_done and trial.rung == len(lengths)]
    last = RungRow(
        num_steps=None,
        num_trained=sum(trial.status == "completed" for trial in whole),
        num_repeated=sum(trial.status == "duplicate" for trial in whole),
        num_failed=sum(trial.status == "failed" for trial in whole),
        num_stopped=None,
        values=[trial.metrics[metric] for trial in whole if trial.metrics],
        seconds=sum(t.seconds - sum(part.seconds for part in t.rungs) for t in whole if t.seconds),
    )
    return [*rows, last]


def rung_table(run: Run) -> Table | None:
    """What became of candidates at each rung: trained, taken over, failed, stopped there, and time.

    Returns:
        The table, a row for each length of training; None of a run without rungs.
    """
    rows = rung_rows(run)
    if not rows:
        return None
    table = Table(box=box.SIMPLE_HEAD, title="rungs", title_justify="left")
    for name in ("steps", "trained", "duplicate", "failed", "stopped", "mean", "best", "hours"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            "whole" if row.num_steps is None else str(row.num_steps),
            str(row.num_trained),
            str(row.num_repeated),
            str(row.num_failed),
            "" if row.num_stopped is None else str(row.num_stopped),
            f"{sum(row.values) / len(row.values):.4f}" if row.values else "-",
            f"{max(row.values):.4f}" if row.values else "-",
            f"{row.seconds / 3600:.2f}",
        )
    return table
