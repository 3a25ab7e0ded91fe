"""A training as text: how far it is, and how good the network was at each measurement."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from spinesearch.results.ledger.lines import Event
from spinesearch.results.ledger.run import Run
from spinesearch.results.tables import narrow_table

SCORES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100", "top1", "top5")
MAIN_SCORES = ("AP", "AP50", "AP75", "AR100", "top1", "top5")


def best_measurement(measurements: Sequence[Event]) -> Event:
    """The ``measure`` event of the best `main_score`, the first among equals; there is at least one."""
    return max(measurements, key=main_score)


def main_metric(event: Event) -> str:
    """What networks are compared by: AP, or top1 of a classifier."""
    return "top1" if "top1" in event["scores"] else "AP"


def main_score(event: Event) -> float:
    """The `main_metric` of a ``measure`` event; 0 where it is not defined."""
    return float(event["scores"][main_metric(event)] or 0.0)


def training_status(run: Run) -> str:
    """In one line: what is trained, how far it is, the best score so far."""
    training = run.training
    assert training is not None
    done = run.measurements[-1]["step"] if run.measurements else 0
    line = f"{training['name']}: measured up to step {done} of {training['num_steps']}"
    if run.measurements:
        best = best_measurement(run.measurements)
        line += f", {best_line(best)}"
    if run.divergence is not None:
        line += f"; stopped at step {run.divergence['step']}: the loss was not finite"
    return line


def best_line(best: Event) -> str:
    """As in ``best AP 0.1234 after epoch 5``."""
    return f"best {main_metric(best)} {main_score(best):.4f} after epoch {best['epoch']}"


def measurement_lines(event: Event, *, is_best: bool) -> tuple[str, str]:
    """A ``measure`` event for people: a line with the scores, and one with the AP of each class, if any."""
    names = [name for name in MAIN_SCORES if name in event["scores"]]
    scores = "  ".join(f"{name} {_number(event['scores'][name])}" for name in names)
    classes = "  ".join(f"{name} {_number(ap)}" for name, ap in event["class_aps"].items())
    return (
        f"epoch {event['epoch']}, step {event['step']}: loss {event['loss']:.3f}  {scores}"
        f"{'  best so far' if is_best else ''}",
        f"  AP by class: {classes}" if classes else "",
    )


def measurement_table(run: Run) -> Table:
    """A row for each measurement, of a detector with AP by class."""
    classes = list(run.measurements[-1]["class_aps"])
    table = narrow_table(f"on the validation images{', with AP by class' if classes else ''}")
    columns = [name for name in SCORES if name in run.measurements[-1]["scores"]]
    for name in ("epoch", "step", "loss", *columns, *classes):
        table.add_column(name, justify="right")
    for event in run.measurements:
        scores = [event["scores"][name] for name in columns]
        scores += [event["class_aps"].get(name) for name in classes]
        table.add_row(str(event["epoch"]), str(event["step"]), f"{event['loss']:.3f}", *map(_number, scores))
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
