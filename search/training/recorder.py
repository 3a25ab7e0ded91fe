"""What a training leaves behind: events in its ledger, weights, a model card."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from spinesearch.data.whole_file import write_whole
from spinesearch.models.weights.files import save_weights
from spinesearch.results.ledger.files import WEIGHTS_FOLDER
from spinesearch.results.ledger.ledger import Ledger, LedgerError
from spinesearch.results.ledger.lines import Event
from spinesearch.results.ledger.run import Run
from spinesearch.results.training_table import main_score
from spinesearch.search.runs.mirror import Mirror
from spinesearch.search.training.model_card import model_card
from spinesearch.search.training.train_display import TrainDisplay, TrainScalars
from spinesearch.search.watchers.mirror_observer import MirrorObserver
from spinesearch.training.run.watcher import Measurement

BEST, LAST = "best.safetensors", "last.safetensors"
CARD = "README.md"


class TrainRecorder:
    """The watcher of a training's first process: records, keeps weights, shows.

    A disk that is full ends nothing before the last step: what could not be written then is written with
    the next measurement, or must be at the end.

    Args:
        run: as the ledger has it, the session's ``run`` event included.
        ledger: of the run.
        run_dir: its folder.
        num_steps: of the whole training.
        display: what it shows.
        scalars: TensorBoard's.
        mirror: of the run, after `Mirror.read`; None without one.
    """

    def __init__(
        self,
        run: Run,
        ledger: Ledger,
        run_dir: Path,
        *,
        num_steps: int,
        display: TrainDisplay,
        scalars: TrainScalars,
        mirror: Mirror | None,
    ) -> None:
        self._run, self._ledger, self._run_dir = run, ledger, run_dir
        self._num_steps = num_steps
        self._display, self._scalars = display, scalars
        self._mirror = None if mirror is None else MirrorObserver(mirror, run_dir, ledger, display.warned)
        self._pending: list[Event] = []
        self._best = max((main_score(event) for event in run.measurements), default=-1.0)

    def begun(self, step: int, num_steps: int) -> None:
        """Shown."""
        self._display.begun(step, num_steps)
        self._scalars.begun(step)
        if self._mirror is not None:
            self._mirror.started(self._run, num_steps)

    def stepped(self, step: int, loss: float, lr: float) -> None:
        """Shown."""
        self._display.stepped(step, loss, lr)
        self._scalars.stepped(step, loss, lr)
        if self._mirror is not None:
            self._mirror.ticked(0)

    def saved(self, step: int) -> None:
        """Sent to the mirror."""
        if self._mirror is not None:
            self._mirror.ask()

    def measured(self, measurement: Measurement, model: nn.Module) -> None:
        """Weights first, then the ledger: a measurement that is recorded has its weights on disk."""
        is_best = measurement.scores.main > self._best
        event: Event = {
            "event": "measure",
            "step": measurement.step,
            "epoch": measurement.epoch,
            "loss": measurement.loss,
            "scores": measurement.scores.summary,
            "class_aps": measurement.scores.class_aps,
            "time": time.time(),
        }
        if (masks := measurement.scores.masks) is not None:
            event = {**event, "mask_scores": masks.summary, "mask_class_aps": masks.class_aps}
        is_last = measurement.step == self._num_steps
        if self._try(lambda: self._write_weights(model, event, is_best=is_best), must_succeed=is_last):
            self._best = max(self._best, measurement.scores.main)  # of the best that is on disk
        self._pending.append(event)
        self._try(self._append, must_succeed=is_last)
        self._display.measured(event, is_best=is_best)
        self._scalars.measured(measurement)
        if self._mirror is not None:
            self._mirror.ask()

    def warned(self, message: str) -> None:
        """Shown."""
        self._display.warned(message)

    def diverged(self, step: int, checkpoint: Path | None) -> None:
        """Record that the loss was not finite at a step."""
        lr = self._run.config["train"]["lr"]
        name = None if checkpoint is None else checkpoint.name
        self._pending.append(
            {"event": "diverge", "step": step, "lr": lr, "checkpoint": name, "time": time.time()}
        )
        self._append()

    def ended(self) -> None:
        """Close what is shown, and send the rest to the mirror."""
        self._display.ended()
        self._scalars.ended()
        if self._mirror is not None:
            self._mirror.ended()

    def _append(self) -> None:
        self._ledger.append(self._pending)
        for event in self._pending:
            self._run.apply(event)
        self._pending = []

    def _write_weights(self, model: nn.Module, event: Event, *, is_best: bool) -> None:
        folder = self._run_dir / WEIGHTS_FOLDER
        folder.mkdir(exist_ok=True)
        notes = self._notes(event)
        for name in (BEST, LAST) if is_best else (LAST,):
            save_weights(model, folder / name, overwrite=True, notes=notes)
        write_whole(folder / CARD, model_card(self._run, [*self._run.measurements, *self._pending, event]))

    def _notes(self, event: Event) -> Mapping[str, Any]:
        """What the file beside the weights says of where they come from."""
        first, training = self._run.sessions[0], self._run.training
        assert training is not None
        return {
            "training": {
                "run": self._run_dir.resolve().name,
                "step": event["step"],
                "epoch": event["epoch"],
                "scores": event["scores"],
                "class_aps": event["class_aps"],
                **{key: event[key] for key in ("mask_scores", "mask_class_aps") if key in event},
                "source": training["source"],
                "init_from": self._run.config.get("init_from"),
                "data": {
                    key: first["data"][key] for key in ("key", "num_train_images", "num_held_out_images")
                },
                "recipe": self._run.config["train"],
                "seed": self._run.config["seed"],
                "version": first["version"],
            }
        }

    def _try(self, write: Callable[[], None], *, must_succeed: bool) -> bool:
        """Whether it could be written."""
        try:
            write()
            return True
        except (OSError, LedgerError) as error:
            if must_succeed:
                raise
            self.warned(f"{' '.join(str(error).split())}; the training goes on, and tries again: make room")
            return False
