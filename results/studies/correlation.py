"""`spinesearch proxy correlate`: whether two settings rank architectures alike, as numbers and as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table

from spinesearch.results.studies.predictor import LEAST_ARCHS, cross_validated
from spinesearch.results.studies.rank_correlation import Correlation, kendall_tau, spearman_rho
from spinesearch.results.studies.resamples import Floats
from spinesearch.results.studies.statistics import mean_icc
from spinesearch.results.studies.study import LESS_IS_BETTER, Rate, Study, drawn_note, row_means
from spinesearch.results.studies.variance import study_components
from spinesearch.results.tables import narrow_table
from spinesearch.space.features import features

_TOO_LONG = 60  # characters of a side's settings in a line
_ENOUGH_ARCHS = 8  # from which on the intervals hold the truth as often as they say: docs/reward-noise.md


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricCorrelation:
    """How a metric of side a ranks the architectures, against a metric of side b.

    Attributes:
        metric_a: of the first side. Of losses the negative is compared, and named ``-loss``: whatever the
            metrics, agreement on which architecture is better is a correlation above zero.
        metric_b: of the second; as `metric_a`.
        num_archs: architectures that have both.
        tau: Kendall's tau-b; None with fewer than three architectures, or where a side is constant.
        rho: Spearman's rho; None as `tau`.
        upper: tau-b among the half of the architectures that have more of `metric_b`; None as `tau`.
    """

    metric_a: str
    metric_b: str
    num_archs: int
    tau: Correlation | None
    rho: Correlation | None
    upper: Correlation | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        found = {"tau": self.tau, "rho": self.rho, "upper": self.upper}
        numbers = {name: c and {"value": c.value, "interval": list(c.interval)} for name, c in found.items()}
        return {**asdict(self), **numbers}


@dataclass(frozen=True, kw_only=True, slots=True)
class CorrelationReport:
    """What a correlation study has found so far.

    Attributes:
        num_archs: architectures requested.
        num_seeds: seeds of each, per side.
        num_done: trainings that have ended, failures included.
        num_failed: those that failed.
        labels: by side, its settings where they differ from the other's.
        rates: by side, how long its trainings took; None before the first.
        reliability: by side, the intraclass correlation of the means over its seeds; None for one seed.
        rows: each metric against itself, the reward first; then the others against the reward of side b.
        baselines: what needs no training, or less, against the reward of side b.
        draws_images: whether the reward's intervals are over architectures and held-out images.
        best_rank: place on side b, from 1, of the architecture that side a puts first; None if it puts
            none first.
    """

    num_archs: int
    num_seeds: int
    num_done: int
    num_failed: int
    labels: Mapping[str, str]
    rates: Mapping[str, Rate | None]
    reliability: Mapping[str, float | None]
    rows: tuple[MetricCorrelation, ...]
    baselines: tuple[MetricCorrelation, ...]
    draws_images: bool
    best_rank: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            **asdict(self),
            "rates": {side: rate and rate._asdict() for side, rate in self.rates.items()},
            "rows": [row.to_dict() for row in self.rows],
            "baselines": [row.to_dict() for row in self.baselines],
        }


def correlation_report(study: Study) -> CorrelationReport:
    """The numbers of a correlation study, from whatever has ended on both sides."""
    reward = study.reward_metric
    pairs = [(metric, metric) for metric in study.metrics]
    pairs += [(metric, reward) for metric in study.metrics if metric != reward]
    a, b = both_sides(study, reward, reward)
    # Where side a scores all alike, none is its best.
    best_rank = int((b > b[np.argmax(a)]).sum()) + 1 if len(a) and np.ptp(a) > 0 else None
    rows = (_correlation(study, metric_a, metric_b) for metric_a, metric_b in pairs)
    return CorrelationReport(
        num_archs=study.num_archs,
        num_seeds=study.num_seeds,
        num_done=study.run.num_done,
        num_failed=sum(trial.status == "failed" for trial in study.run.trials),
        labels=side_labels(study),
        rates={side: study.rate(side) for side in study.sides},
        reliability={side: _reliability(study, side) for side in study.sides},
        rows=tuple(row for row in rows if row.num_archs),
        baselines=tuple(_baselines(study)),
        draws_images=all(study.redrawn_scores(side, reward) is not None for side in study.sides),
        best_rank=best_rank,
    )


def both_sides(study: Study, metric_a: str, metric_b: str) -> tuple[Floats, Floats]:
    """Mean scores of the architectures that have both: two of `[N]`."""
    a, b = study.mean_scores("a", metric_a), study.mean_scores("b", metric_b)
    have_both = np.isfinite(a) & np.isfinite(b)
    return a[have_both], b[have_both]


def side_labels(study: Study) -> dict[str, str]:
    """By side, the settings in which it differs from the other, as ``key=value`` words."""
    flat = {side: _flat(study.config(side)) for side in study.sides}
    keys = [key for key in flat["a"] | flat["b"] if flat["a"].get(key) != flat["b"].get(key)]
    # Another choice of a group changes many settings; the first few are enough to distinguish the sides.
    labels = {}
    for side in study.sides:
        label = " ".join(f"{key.removeprefix('proxy_task.')}={flat[side].get(key)}" for key in keys)
        labels[side] = label if len(label) <= _TOO_LONG else f"{label[: _TOO_LONG - 4]} ..."
    return labels if keys else dict.fromkeys(study.sides, "same settings, other seeds")


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _correlation(study: Study, metric_a: str, metric_b: str) -> MetricCorrelation:
    a, b = study.mean_scores("a", metric_a), study.mean_scores("b", metric_b)
    name_a, name_b = (f"-{name}" if name in LESS_IS_BETTER else name for name in (metric_a, metric_b))
    a, b = (-v if name.startswith("-") else v for v, name in ((a, name_a), (b, name_b)))
    is_reward = metric_a == metric_b == study.reward_metric
    drawn_a, drawn_b = (study.redrawn_scores(side, metric_a) if is_reward else None for side in study.sides)
    return _compared((name_a, a, drawn_a), (name_b, b, drawn_b))


def _baselines(study: Study) -> Iterator[MetricCorrelation]:
    """Size, cost, and what features of the graphs predict, against the reward of side b."""
    reward = study.reward_metric
    b = reward, study.mean_scores("b", reward), study.redrawn_scores("b", reward)
    for name, metric in (("parameters", "num_parameters"), ("multiply-adds", "num_multiply_adds")):
        cost = study.mean_scores("a", metric)
        yield _compared((name, cost, cost[None, :, None]), b)
    known = np.isfinite(b[1])
    if known.sum() < LEAST_ARCHS:
        return
    first = {trial.arch_id: trial for trial in reversed(study.run.trials)}
    rows = [features(study.run.spec(first[study.arch_ids[i]])) for i in np.flatnonzero(known)]
    predicted = np.full(len(known), np.nan)
    predicted[known] = cross_validated(np.array(rows), b[1][known])
    yield _compared(("graph features", predicted, predicted[None, :, None]), b)


_Scores = tuple[str, Floats, Floats | None]
"""Name, mean of each architecture `[N]`, and values on draws of the images `[R, N, M]` if there are any."""


def _compared(side_a: _Scores, side_b: _Scores) -> MetricCorrelation:
    (name_a, a, drawn_a), (name_b, b, drawn_b) = side_a, side_b
    both = np.isfinite(a) & np.isfinite(b)
    redrawn = None
    if drawn_a is not None and drawn_b is not None:
        redrawn = row_means(drawn_a)[:, both], row_means(drawn_b)[:, both]
    a, b = a[both], b[both]
    return MetricCorrelation(
        metric_a=name_a,
        metric_b=name_b,
        num_archs=len(a),
        tau=kendall_tau(a, b, redrawn=redrawn),
        rho=spearman_rho(a, b, redrawn=redrawn),
        upper=kendall_tau(a, b, redrawn=redrawn, among_best=True),
    )


def _reliability(study: Study, side: str) -> float | None:
    components = study_components(study, side, study.reward_metric)
    if components is None or components.icc is None:
        return None
    return mean_icc(components.icc, study.num_seeds)


def correlation_table(report: CorrelationReport) -> Table:
    """The report's rows; 80 columns wide at most."""
    seeds = "1 seed" if report.num_seeds == 1 else f"{report.num_seeds} seeds"
    title = f"{report.num_archs} architectures, {seeds} a side"
    table = narrow_table(title)
    for name in ("a", "b"):
        table.add_column(name, no_wrap=True)
    for name in ("archs", "tau-b", "95 % interval", "upper half", "95 % interval", "rho"):
        table.add_column(name, justify="right", no_wrap=name != "upper half")
    for row in report.rows:
        cells = [*_cells(row.tau), *_cells(row.upper), _cells(row.rho)[0]]
        metric_b = row.metric_b if row.metric_b != row.metric_a else "same"
        table.add_row(row.metric_a, metric_b, str(row.num_archs), *cells)
    return table


def _cells(found: Correlation | None) -> tuple[str, str]:
    if found is None:
        return "-", "-"
    low, high = (f"{value:.2f}" for value in found.interval)
    return f"{found.value:.2f}", f"{low} to {high}"


def correlation_notes(report: CorrelationReport) -> list[str]:
    """What the table does not say by itself, one line each: settings, time, failures, the best."""
    notes = []
    for side, label in report.labels.items():
        parts = [label]
        if (rate := report.rates[side]) is not None:
            parts.append(f"{rate.seconds:.1f} s per candidate")
        if (icc := report.reliability[side]) is not None:
            parts.append(f"{100 * icc:.0f} % of the variance of its means from the architecture")
        notes.append(f"{side}: {'; '.join(parts)}")
    if report.best_rank is not None:
        num_archs = report.rows[0].num_archs
        notes.append(f"the best of a is number {report.best_rank} of {num_archs} on b")
    if any(row.upper for row in report.rows):
        notes.append("upper half: tau-b among the half of the architectures that is better on b")
    for row in report.baselines:
        cells = [f"{value} ({interval})" for value, interval in (_cells(row.tau), _cells(row.upper))]
        notes.append(f"baseline {row.metric_a}: tau-b {cells[0]}, upper half {cells[1]}")
    if report.rows:
        notes.append(drawn_note(report.rows[0].metric_a, report.draws_images))
    if not report.rows or report.rows[0].num_archs < 3:
        notes.append("no result yet: it takes three architectures that completed on both sides")
    elif report.rows[0].num_archs < _ENOUGH_ARCHS:
        notes.append(f"with fewer than {_ENOUGH_ARCHS} architectures the intervals are too narrow")
    if any(row.metric_a.startswith("-") for row in report.rows):
        notes.append("a minus before a loss: less of it is better, so its negative is ranked")
    if report.num_failed:
        notes.append(f"{report.num_failed} of {report.num_done} trainings failed; the figures leave them out")
    return notes
