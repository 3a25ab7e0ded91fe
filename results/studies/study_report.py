"""The report of a study on a console, and as files beside its ledger."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from spinesearch.data.whole_file import write_whole
from spinesearch.results.studies.correlation import (
    CorrelationReport,
    both_sides,
    correlation_notes,
    correlation_report,
    correlation_table,
)
from spinesearch.results.studies.plots import scatter_plot
from spinesearch.results.studies.resamples import Floats
from spinesearch.results.studies.study import Study
from spinesearch.results.studies.variance import variance_notes, variance_report, variance_table, verdict
from spinesearch.results.tables import failures, narrow_table
from spinesearch.space import pretty_json

_WIDTH = 80  # of what the report says in sentences


def print_report(study: Study, console: Console) -> None:
    """Print how far a study is and what it has found, with machine, date, versions and command."""
    console.print(_status(study))
    if (failed := failures(study.run)) is not None:
        console.print(failed)
    table, lines = _report(study)
    if table is not None:
        console.print(table)
    for line in [*lines, "", *_origin(study)]:
        console.print(line, width=_WIDTH, soft_wrap=False)


def arch_table(study: Study, *, top: int) -> Table:
    """The best architectures: mean reward and its deviation over the seeds, by side; the last side ranks."""
    metric, sides = study.reward_metric, study.sides
    means = study.mean_scores(sides[-1], metric)
    order = [i for i in np.argsort(-means, kind="stable") if np.isfinite(means[i])][:top]
    title = f"best {len(order)} of {len(study.arch_ids)}"
    table = narrow_table(title)
    for name in ("rank", "arch_id"):
        table.add_column(name, justify="right" if name == "rank" else "left", no_wrap=True)
    for side in sides:
        for name in (metric, "sd", "seeds"):
            table.add_column(f"{side} {name}".strip(), justify="right", no_wrap=True)
    scores = {side: study.scores(side, metric) for side in sides}
    for rank, i in enumerate(order, start=1):
        cells = [cell for side in sides for cell in _spread(scores[side][i])]
        table.add_row(str(rank), study.arch_ids[i], *cells)
    return table


def _spread(values: Floats) -> tuple[str, str, str]:
    """Mean, standard deviation and number of an architecture's values."""
    values = values[np.isfinite(values)]
    mean = f"{values.mean():.4f}" if len(values) else "-"
    deviation = f"{values.std(ddof=1):.4f}" if len(values) > 1 else "-"
    return mean, deviation, str(len(values))


def write_report(study: Study, run_dir: Path) -> list[Path]:
    """Write ``<kind>.json``, and ``correlate.png`` where there are two settings; returns the paths.

    Both can be made again from the ledger. Each appears whole or not at all.
    """
    report = variance_report(study) if study.kind == "variance" else correlation_report(study)
    session = study.run.sessions[-1]
    origin = {key: session[key] for key in ("machine", "version", "torch", "python", "command", "time")}
    path = run_dir / f"{study.kind}.json"
    write_whole(path, pretty_json({**report.to_dict(), "origin": origin}))
    if not isinstance(report, CorrelationReport) or not report.rows:
        return [path]
    _plot(study, report, plot_path := run_dir / f"{study.kind}.png")
    return [path, plot_path]


def _report(study: Study) -> tuple[Table | None, list[str]]:
    """The table, if there is anything to put into it yet, and the lines below."""
    if study.kind == "variance":
        variance = variance_report(study)
        lines = [*variance_notes(variance), "", verdict(variance)]
        return variance_table(variance) if variance.rows else None, lines
    correlation = correlation_report(study)
    return correlation_table(correlation) if correlation.rows else None, correlation_notes(correlation)


def _status(study: Study) -> str:
    run = study.run
    reused = sum(bool(trial.reused_from) for trial in run.trials)
    taken_over = f", {reused} taken over from other runs" if reused else ""
    return (
        f"proxy {study.kind}: {run.num_done} of {study.num_trials} trainings done{taken_over}; "
        f"space {run.space.name}, seed {run.config['seed']}"
    )


def _origin(study: Study) -> list[str]:
    session = study.run.sessions[-1]
    date = time.strftime("%Y-%m-%d", time.localtime(session["time"]))
    return [
        f"{session['machine']}; {date}",
        f"spinesearch {session['version']}, torch {session['torch']}, Python {session['python']}",
        str(session["command"]),
    ]


def _plot(study: Study, report: CorrelationReport, path: Path) -> None:
    metric = study.reward_metric
    a, b = both_sides(study, metric, metric)
    names = [study.arch_ids[i] for i in np.flatnonzero(_have_both(study, metric))]
    scatter_plot(
        path,
        a=a,
        b=b,
        names=names,
        metric=metric,
        labels=report.labels,
        errors=_standard_errors(study, metric),
        tau=report.rows[0].tau,
        rho=report.rows[0].rho,
    )


def _have_both(study: Study, metric: str) -> Any:
    return np.isfinite(study.mean_scores("a", metric)) & np.isfinite(study.mean_scores("b", metric))


def _standard_errors(study: Study, metric: str) -> tuple[Floats, Floats] | None:
    """Of the architectures' means; None with one seed, which says nothing of its error."""
    if study.num_seeds < 2:
        return None
    rows = _have_both(study, metric)
    errors = []
    for side in study.sides:
        table = study.scores(side, metric)[rows]
        count = np.isfinite(table).sum(axis=1)
        deviations = np.where(np.isfinite(table), table - np.nanmean(table, axis=1, keepdims=True), 0.0)
        # One seed that completed has no deviation; a NaN draws no bar.
        variance = (deviations**2).sum(axis=1) / np.where(count > 1, count - 1, np.nan)
        errors.append(np.sqrt(variance / count))
    return errors[0], errors[1]
