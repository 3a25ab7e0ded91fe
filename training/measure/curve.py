"""What a training is worth on its way: `Curve` measures a model between two of its steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import TypeVar

import torch
from torch import nn

T = TypeVar("T")

Point = tuple[int, float, float]
"""Steps taken, mean training loss over the last tenth of them, AP on the held-out images."""


class Curve:
    """The losses of a training, and AP after some of its steps, which go on as if nobody had looked.

    Args:
        model: that is trained, batch by batch of `between_steps`.
        steps: after how many steps to measure, rising.
        measure: AP of the model as it is. It may change batch normalisation's statistics and leave the model
            in evaluation mode, but draws nothing from a generator that the training uses.
        on_step: called with (step, loss) of every step, as they become known.
        losses: of the steps taken before, of a training that goes on.
        aps: what was measured before these were taken, by the number of steps.

    Attributes:
        aps: what has been measured, by the number of steps.
    """

    def __init__(
        self,
        model: nn.Module,
        steps: Sequence[int],
        measure: Callable[[], float],
        on_step: Callable[[int, float], None] | None = None,
        *,
        losses: Sequence[float] = (),
        aps: Mapping[int, float] | None = None,
    ) -> None:
        self._model = model
        self._steps = frozenset(steps)
        self._measure = measure
        self._on_step = on_step
        self._losses = list(losses)
        self.aps = dict(aps or {})

    def between_steps(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches; the model is measured when another is asked for, the step before being done."""
        num_steps = len(self._losses)
        for batch in batches:
            self._look(num_steps)
            yield batch
            num_steps += 1
        self._look(num_steps)

    def on_step(self, step: int, loss: float) -> None:
        """Take in the loss of the next step."""
        self._losses.append(loss)
        if self._on_step is not None:
            self._on_step(step, loss)

    @property
    def mean_loss(self) -> float:
        """Over all steps."""
        return fmean(self._losses)

    @property
    def points(self) -> tuple[Point, ...]:
        """What was measured, once the losses of these steps are known."""
        return tuple((step, last_tenth(self._losses[:step]), ap) for step, ap in self.aps.items())

    def _look(self, num_steps: int) -> None:
        if num_steps not in self._steps:
            return
        kept = [buffer.clone() for buffer in self._model.buffers()]
        self.aps[num_steps] = self._measure()
        with torch.no_grad():
            for buffer, value in zip(self._model.buffers(), kept, strict=True):
                buffer.copy_(value)  # in place: a captured step knows its memory
        self._model.train()


def last_tenth(losses: Sequence[float]) -> float:
    """Mean over the last tenth of some steps' losses, in float32; of the last one if they are few."""
    return float(torch.tensor(losses[-max(1, len(losses) // 10) :]).mean())
