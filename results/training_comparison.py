"""Trainings beside each other, those of one model with several seeds as one row: `compared_trainings`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from spinesearch.results.comparison import Figure, figure
from spinesearch.results.ledger.lines import Event
from spinesearch.results.ledger.run import Run
from spinesearch.results.tables import narrow_table
from spinesearch.results.training_table import MAIN_SCORES, SCORES, main_metric


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRow:
    """One model under one recipe.

    Attributes:
        model: its name, with what sets it apart from others of the name.
        runs: its trainings, one per seed.
        parameters: of the network that is trained.
        multiply_adds: of it, for one image.
        scores: by their names.
        difference: of the first score from the first row's, seed by seed over the seeds that both have;
            None of the first row itself, and where no seed is in both.
    """

    model: str
    runs: tuple[str, ...]
    parameters: int
    multiply_adds: int
    scores: Mapping[str, Figure]
    difference: Figure | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingComparison:
    """What a comparison of trainings found.

    Attributes:
        metric: what models are compared by, AP or top1.
        epoch: after which all were measured; None where all have ended, and their ends are compared.
        rows: the models, in the order given.
    """

    metric: str
    epoch: int | None
    rows: tuple[TrainingRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def compared_trainings(models: Mapping[str, Mapping[str, Run]]) -> TrainingComparison:
    """Trainings beside each other: at their ends, or while one goes on, after the same epoch.

    A training's best measurement is not used: it is chosen by the very images that it is measured on.

    Args:
        models: by name, the trainings of each by theirs, of different seeds.

    Raises:
        ValueError: there is no epoch after which all were measured, or they have no score in common.
    """
    everyone = {name: run for runs in models.values() for name, run in runs.items()}
    epoch = None if all(_has_ended(run) for run in everyone.values()) else _last_common_epoch(everyone)
    events = {name: _measurement(run, epoch) for name, run in everyone.items()}
    names = [name for name in SCORES if all(name in event["scores"] for event in events.values())]
    metrics = {main_metric(event) for event in events.values()}
    if len(metrics) > 1:
        raise ValueError("RUN: detectors and classifiers have no score in common; compare one kind")
    (metric,) = metrics
    by_seed = {
        model: {run.config["seed"]: events[name]["scores"][metric] for name, run in runs.items()}
        for model, runs in models.items()
    }
    first, *_ = by_seed.values()
    rows: list[TrainingRow] = []
    for model, runs in models.items():
        (cost, *_) = (_training(run)["cost"] for run in runs.values())
        seeds = first.keys() & by_seed[model].keys()
        pairs = [_minus(by_seed[model][seed], first[seed]) for seed in sorted(seeds)]
        rows.append(
            TrainingRow(
                model=model,
                runs=tuple(runs),
                parameters=cost["parameters"],
                multiply_adds=cost["multiply_adds"],
                scores={name: figure(events[run]["scores"][name] for run in runs) for name in names},
                difference=figure(pairs) if rows and pairs else None,
            )
        )
    return TrainingComparison(metric=metric, epoch=epoch, rows=tuple(rows))


def training_comparison_table(found: TrainingComparison) -> Table:
    """A row for each model, with the main ones of its scores."""
    when = "at the end" if found.epoch is None else f"after epoch {found.epoch}"
    table = narrow_table(f"on the validation images, {when}")
    table.add_column("model", overflow="fold")
    scores = [name for name in MAIN_SCORES if name in found.rows[0].scores]
    for name in ("seeds", "params", "madds", *scores, f"{found.metric} - first's"):
        table.add_column(name, justify="right")
    for row in found.rows:
        table.add_row(
            row.model,
            str(len(row.runs)),
            f"{row.parameters / 1e6:.2f}M",
            f"{row.multiply_adds / 1e6:,.0f}M",
            *(str(row.scores[name]) for name in scores),
            "" if row.difference is None else str(row.difference),
        )
    return table


def training_comparison_lines(found: TrainingComparison) -> list[str]:
    """Which trainings the rows are of, and what the figures are worth."""
    lines = [f"{row.model}: {', '.join(row.runs)}" for row in found.rows]
    if found.epoch is not None:
        lines.append(f"epoch {found.epoch} is the last after which all were measured; some go on")
    lines.append(
        "± half of the 95 % interval of the mean over seeds (Student's t)"
        if any(len(row.runs) > 1 for row in found.rows)
        else "of a model with one training it is not known what another seed would give"
    )
    return lines


def _training(run: Run) -> Mapping[str, Any]:
    assert run.training is not None
    return run.training


def _has_ended(run: Run) -> bool:
    return bool(run.measurements) and run.measurements[-1]["step"] >= _training(run)["num_steps"]


def _last_common_epoch(runs: Mapping[str, Run]) -> int:
    epochs = {name: {event["epoch"] for event in run.measurements} for name, run in runs.items()}
    for name, measured in epochs.items():
        if not measured:
            raise ValueError(f"{name}: has not been measured yet; compare it later")
    common = set.intersection(*epochs.values())
    if not common:
        raise ValueError("RUN: there is no epoch after which all were measured; compare them at their ends")
    return int(max(common))


def _measurement(run: Run, epoch: int | None) -> Event:
    return next(e for e in reversed(run.measurements) if epoch is None or e["epoch"] == epoch)


def _minus(score: float | None, other: float | None) -> float | None:
    return None if score is None or other is None else score - other
