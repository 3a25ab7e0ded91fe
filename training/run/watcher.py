"""What a long training tells of itself: `Watcher`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import nn

from spinesearch.training.measure.evaluate import Scores


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """How good the network is after some steps.

    Attributes:
        step: number of steps taken.
        epoch: number of epochs that these complete.
        loss: mean training loss since the measurement before.
        scores: on the validation images.
    """

    step: int
    epoch: int
    loss: float
    scores: Scores


class Watcher(Protocol):
    """What a training tells of itself."""

    def begun(self, step: int, num_steps: int) -> None:
        """It goes on after so many steps, of so many."""

    def stepped(self, step: int, loss: float, lr: float) -> None:
        """Step number ``step``, from 0, was taken with this rate; its loss is finite."""

    def saved(self, step: int) -> None:
        """The state after so many steps is on disk."""

    def measured(self, measurement: Measurement, model: nn.Module) -> None:
        """The network, in evaluation mode and with its average for weights if it has one, was measured."""

    def warned(self, message: str) -> None:
        """Something went wrong that the training survives, in one line."""


class Unwatched:
    """A watcher that does nothing."""

    def begun(self, step: int, num_steps: int) -> None:
        """Nothing."""

    def stepped(self, step: int, loss: float, lr: float) -> None:
        """Nothing."""

    def saved(self, step: int) -> None:
        """Nothing."""

    def measured(self, measurement: Measurement, model: nn.Module) -> None:
        """Nothing."""

    def warned(self, message: str) -> None:
        """Nothing."""
