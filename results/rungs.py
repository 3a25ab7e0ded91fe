"""What became of a run's candidates at each rung, as a table."""

from __future__ import annotations

from rich import box
from rich.table import Table

from spinesearch.results.ledger.run import Run


def rung_table(run: Run) -> Table | None:
    """What became of candidates at each rung: trained, taken over, failed, stopped there, and time.

    Returns:
        The table, a row for each length of training; None of a run without rungs.
    """
    lengths = sorted({part.num_steps for trial in run.trials for part in trial.rungs})
    if not lengths:
        return None
    table = Table(box=box.SIMPLE_HEAD, title="rungs", title_justify="left")
    for name in ("steps", "trained", "duplicate", "failed", "stopped", "mean", "best", "hours"):
        table.add_column(name, justify="right", no_wrap=True)
    metric = run.config["search"]["reward_metric"]
    for number, length in enumerate(lengths):
        parts = [trial.rungs[number] for trial in run.trials if len(trial.rungs) > number]
        values = [part.metrics[metric] for part in parts]
        num_repeated = sum(part.duplicate_of is not None for part in parts)
        ended = [trial for trial in run.trials if trial.is_done and trial.rung == number]
        table.add_row(
            str(length),
            str(len(parts) - num_repeated),
            str(num_repeated),
            str(sum(trial.status == "failed" for trial in ended)),
            str(sum(trial.is_stopped for trial in ended)),
            f"{sum(values) / len(values):.4f}",
            f"{max(values):.4f}",
            f"{sum(part.seconds for part in parts) / 3600:.2f}",
        )
    whole = [trial for trial in run.trials if trial.is_done and trial.rung == len(lengths)]
    values = [trial.metrics[metric] for trial in whole if trial.metrics]
    seconds = sum(t.seconds - sum(part.seconds for part in t.rungs) for t in whole if t.seconds)
    table.add_row(
        "whole",
        str(sum(trial.status == "completed" for trial in whole)),
        str(sum(trial.status == "duplicate" for trial in whole)),
        str(sum(trial.status == "failed" for trial in whole)),
        "",
        f"{sum(values) / len(values):.4f}" if values else "-",
        f"{max(values):.4f}" if values else "-",
        f"{seconds / 3600:.2f}",
    )
    return table
