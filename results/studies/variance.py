"""`spinesearch proxy variance`: the architecture's share of each score, as numbers and text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table

from spinesearch.results.studies.statistics import (
    Components,
    mean_icc,
    same_seed_icc,
    seeds_needed,
    variance_components,
)
from spinesearch.results.studies.study import LESS_IS_BETTER, Rate, Study, drawn_note
from spinesearch.results.tables import narrow_table

TARGET_ICC = (
    0.9  # what the default proxy task is held to: nine tenths of the variance are worth learning from
)


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricVariance:
    """One metric: its components, and the share of the architecture among trainings with one seed."""

    metric: str
    components: Components
    same_seed: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        c = self.components
        return {
            "metric": self.metric,
            "mean": c.mean,
            "sd_within": c.within**0.5,
            "sd_between": c.between**0.5,
            "icc": c.icc,
            "icc_interval": c.interval and list(c.interval),
            "is_between_clamped": c.is_clamped,
            "same_seed_icc": self.same_seed,
            "seeds_needed": None if c.icc is None else seeds_needed(c.icc, TARGET_ICC),
            "num_archs": c.num_groups,
            "num_values": c.num_values,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class VarianceReport:
    """What a variance study has found so far.

    Attributes:
        num_archs: architectures requested.
        num_seeds: seeds of each.
        num_done: trainings that have ended, failures included.
        num_failed: those that failed.
        rate: how long they took; None before the first.
        rows: one per metric that has been measured twice for some architecture, the reward first.
        draws_images: whether the reward's interval is over architectures and held-out images.
    """

    num_archs: int
    num_seeds: int
    num_done: int
    num_failed: int
    rate: Rate | None
    rows: tuple[MetricVariance, ...]
    draws_images: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            **asdict(self),
            "rate": self.rate and self.rate._asdict(),
            "rows": [row.to_dict() for row in self.rows],
            "verdict": verdict(self),
        }


def variance_report(study: Study) -> VarianceReport:
    """The numbers of a variance study, from whatever has ended."""
    rows = []
    for metric in study.metrics:
        table = study.scores("", metric)
        components = study_components(study, "", metric)
        if components is not None:
            rows.append(MetricVariance(metric=metric, components=components, same_seed=same_seed_icc(table)))
    return VarianceReport(
        num_archs=study.num_archs,
        num_seeds=study.num_seeds,
        num_done=study.run.num_done,
        num_failed=sum(trial.status == "failed" for trial in study.run.trials),
        rate=study.rate(""),
        rows=tuple(rows),
        draws_images=study.redrawn_scores("", study.reward_metric) is not None,
    )


def study_components(study: Study, side: str, metric: str) -> Components | None:
    """The components of a metric on a side; the interval of the reward's is over images too, if it can be."""
    table = study.scores(side, metric)
    redrawn = study.redrawn_scores(side, metric) if metric == study.reward_metric else None
    return variance_components([row[np.isfinite(row)].tolist() for row in table], redrawn)


def variance_table(report: VarianceReport) -> Table:
    """The report's rows; 80 columns wide at most."""
    title = f"{report.num_archs} architectures x {report.num_seeds} seeds"
    table = narrow_table(title)
    table.add_column("metric", no_wrap=True)
    for name in ("mean", "sd within", "sd between", "ICC", "95 % interval", "one seed"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in report.rows:
        c = row.components
        table.add_row(
            row.metric,
            f"{c.mean:.4f}",
            f"{c.within**0.5:.4f}",
            f"{c.between**0.5:.4f}" + ("*" if c.is_clamped else ""),
            "-" if c.icc is None else f"{c.icc:.2f}",
            "-" if c.interval is None else f"{c.interval.low:.2f} to {c.interval.high:.2f}",
            "-" if row.same_seed is None else f"{row.same_seed:.2f}",
        )
    return table


def variance_notes(report: VarianceReport) -> list[str]:
    """What the table does not say by itself, one line each: time, failures, clamped estimates."""
    notes = []
    if report.rate is not None:
        r = report.rate
        per_hour = "" if r.per_hour is None else f"; {r.per_hour:.0f} an hour, all workers together"
        notes.append(f"{r.seconds:.1f} s per candidate (90 % within {r.low:.1f} to {r.high:.1f} s){per_hour}")
    if report.num_failed:
        notes.append(f"{report.num_failed} of {report.num_done} trainings failed; the figures leave them out")
    if report.rows:
        notes.append(drawn_note(report.rows[0].metric, report.draws_images))
    losses = [row.metric for row in report.rows if row.metric in LESS_IS_BETTER]
    if losses:
        notes.append(f"of {' and '.join(losses)} less is better; the shares mean the same")
    if any(row.components.is_clamped for row in report.rows):
        notes.append(
            "* the estimate was negative: the architectures differ less than seeds alone would "
            "let them; it is shown as 0"
        )
    return notes


def verdict(report: VarianceReport) -> str:
    """One or two sentences: what the reward's figures mean for a search."""
    if not report.rows:
        return "No verdict yet: it takes two architectures, one of them with two seeds that completed."
    row = report.rows[0]
    c = row.components
    if c.icc is None or c.interval is None:
        return f"Every training ended with the same {row.metric}: it distinguishes nothing."
    share = f"{100 * c.icc:.0f} % of the variance of {row.metric}"
    interval = f"95 % interval {100 * c.interval.low:.0f} to {100 * c.interval.high:.0f} %"
    if c.icc >= TARGET_ICC:
        start = f"{share} comes from the architecture ({interval}): a search learns from architectures."
        if c.interval.low >= TARGET_ICC:
            return start
        return f"{start} {c.num_groups} architectures do not settle that it is {100 * TARGET_ICC:.0f} %."
    needed = seeds_needed(c.icc, TARGET_ICC)
    if needed is None:
        return (
            f"None of the variance of {row.metric} can be attributed to the architecture ({interval}): "
            "a search would learn from noise."
        )
    return (
        f"{share} comes from the architecture ({interval}), the rest from the seed. The mean of {needed} "
        f"seeds per candidate would reach {100 * mean_icc(c.icc, needed):.0f} %."
    )
