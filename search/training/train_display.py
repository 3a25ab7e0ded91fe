"""What a training shows while it runs: a live line on a terminal, plain lines elsewhere; and TensorBoard."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from spinesearch.results.ledger.lines import Event
from spinesearch.results.tables import duration
from spinesearch.results.training_table import measurement_lines
from spinesearch.search.warn import warn
from spinesearch.search.watchers.summary_writer import open_summary_writer
from spinesearch.search.watchers.tensorboard import FOLDER
from spinesearch.training.run.watcher import Measurement

_PLAIN_LINE_EVERY_S = 60.0
_SCALARS_EVERY = 10  # steps
_ESTIMATED_AFTER = 10  # steps, where no earlier training says how long one takes
_log = logging.getLogger(__name__)


class TrainDisplay:
    """Epoch, step, loss, learning rate, images a second, time left; a line per measurement.

    Args:
        console: where to.
        batch_size: images per step.
        num_images: images per epoch.
    """

    def __init__(self, console: Console, *, batch_size: int, num_images: int) -> None:
        self._console = console
        self._batch_size, self._num_images = batch_size, num_images
        self._first = self._num_steps = 0
        self._began = self._last_line = time.monotonic()
        self._progress: Progress | None = None
        self._known: tuple[float, str] | None = None

    def estimated(self, step_s: float, source: str) -> None:
        """How long a step takes, known before the training begins, and where that is from."""
        self._known = step_s, source

    def begun(self, step: int, num_steps: int) -> None:
        """Show where the training stands."""
        self._first, self._num_steps, self._began = step, num_steps, time.monotonic()
        if step:
            self._print(f"goes on after step {step} of {num_steps}")
        if self._known is not None:
            self._estimate(step, *self._known)
        if self._console.is_terminal and not self._console.quiet:
            columns = (
                TextColumn("step"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total} {task.fields[text]}"),
            )
            self._progress = Progress(*columns, console=self._console, transient=True)
            self._progress.add_task("", total=num_steps, completed=step, text="")
            self._progress.start()

    def stepped(self, step: int, loss: float, lr: float) -> None:
        """Refresh the live line; elsewhere a line a minute."""
        done = step + 1 - self._first
        seconds = (time.monotonic() - self._began) / done
        if done == _ESTIMATED_AFTER and self._known is None:
            self._estimate(step + 1, seconds, f"by the first {done} steps, measurements not counted")
        text = (
            f"epoch {(step + 1) * self._batch_size / self._num_images:.1f}  loss {loss:.3f}  lr {lr:.3g}  "
            f"{self._batch_size / seconds:.3g} images/s  "
            f"{duration((self._num_steps - step - 1) * seconds)} left"
        )
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=step + 1, text=text)
        elif time.monotonic() - self._last_line > _PLAIN_LINE_EVERY_S:
            self._last_line = time.monotonic()
            self._print(f"step {step + 1}/{self._num_steps}  {text}")

    def measured(self, event: Event, *, is_best: bool) -> None:
        """A line with the scores of a ``measure`` event, and one with the AP of each class, if any."""
        scores, classes = measurement_lines(event, is_best=is_best)
        self._print(scores, style="bold green" if is_best else None)
        if classes:
            self._print(classes, style="dim")

    def warned(self, message: str) -> None:
        """One line."""
        warn(self._console, message)

    def ended(self) -> None:
        """Remove the live line."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _estimate(self, step: int, step_s: float, source: str) -> None:
        num_left = self._num_steps - step
        self._print(f"estimate: about {duration(num_left * step_s)} for {num_left} steps, {source}")

    def _print(self, line: str, style: str | None = None) -> None:
        self._console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


class TrainScalars:
    """A training as TensorBoard scalars: ``train/*`` every few steps, ``val/*`` at each measurement.

    Args:
        run_dir: the run's folder.
    """

    def __init__(self, run_dir: Path) -> None:
        self._folder = run_dir / FOLDER
        self._writer: Any = None

    def begun(self, step: int) -> None:
        """What was written of later steps, before a checkpoint was gone back to, no longer counts."""
        try:
            self._writer = open_summary_writer(self._folder, purge_step=step)
        except (OSError, ImportError) as error:
            self._lose(error)

    def stepped(self, step: int, loss: float, lr: float) -> None:
        """Loss and learning rate."""
        if (step + 1) % _SCALARS_EVERY == 0:
            self._write({"train/loss": loss, "train/lr": lr}, step + 1)

    def measured(self, measurement: Measurement) -> None:
        """The scores, and AP by class."""
        scores = {f"val/{name}": value for name, value in measurement.scores.summary.items()}
        classes = {f"val_class/{name}": value for name, value in measurement.scores.class_aps.items()}
        self._write({**scores, **classes}, measurement.step)

    def ended(self) -> None:
        """Write what is left, and close."""
        if self._writer is not None:
            try:
                self._writer.close()
            except OSError as error:
                self._lose(error)

    def _write(self, values: dict[str, float | None], step: int) -> None:
        """A full disk must not end a training, which needs none of this."""
        if self._writer is None:
            return
        try:
            for tag, value in values.items():
                if value is not None:
                    self._writer.add_scalar(tag, value, step)
        except OSError as error:
            self._lose(error)

    def _lose(self, error: Exception) -> None:
        self._writer = None
        _log.warning("no TensorBoard scalars are written from here on: %s", error)
