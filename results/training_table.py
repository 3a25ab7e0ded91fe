"""A training as text: how far it is, and how good the network was at each measurement."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from spinesearch.results.ledger.lines import Event
from spinesearch.results.ledger.run import Run
from spinesearch.results.tables import narrow_table

_COLUMNS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100")


def best_measurement(measurements: Sequence[Event]) -> Event:
    """The ``measure`` event of the best AP, the first among equals; there is at least one."""
    return max(measurements, key=lambda event: event["scores"]["AP"] or 0.0)


def training_status(run: Run) -> str:
    """In one line: what is trained, how far it is, the best AP so far."""
    training = run.training
    assert training is not None
    done = run.measurements[-1]["step"] if run.measurements else 0
    line = f"{training['name']}: measured up to step {done} of {training['num_steps']}"
    if run.measurements:
        best = best_measurement(run.measurements)
        line += f", best AP {best['scores']['AP'] or 0.0:.4f} after epoch {best['epoch']}"
    if run.divergence is not None:
        line += f"; stopped at step {run.divergence['step']}: the loss was not finite"
    return line


def measurement_lines(event: Event, *, is_best: bool) -> tuple[str, str]:
    """A ``measure`` event for people: a line with the scores, and one with the AP of each class."""
    scores = "  ".join(f"{name} {_number(event['scores'][name])}" for name in ("AP", "AP50", "AP75", "AR100"))
    classes = "  ".join(f"{name} {_number(ap)}" for name, ap in event["class_aps"].items())
    return (
        f"epoch {event['epoch']}, step {event['step']}: loss {event['loss']:.3f}  {scores}"
        f"{'  best so far' if is_best else ''}",
        f"  AP by class: {classes}",
    )


def measurement_table(run: Run) -> Table:
    """A row for each measurement, with AP by class."""
    classes = list(run.measurements[-1]["class_aps"])
    table = narrow_table("on the validation images, with AP by class")
    for name in ("epoch", "step", "loss", *_COLUMNS, *classes):
        table.add_column(name, justify="right")
    for event in run.measurements:
        scores = [event["scores"][name] for name in _COLUMNS]
        scores += [event["class_aps"].get(name) for name in classes]
        table.add_row(str(event["epoch"]), str(event["step"]), f"{event['loss']:.3f}", *map(_number, scores))
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
