"""Noticing within a step that training has diverged, without making the device wait."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor


class TrainingDiverged(RuntimeError):  # noqa: N818 - it says what happened
    """The loss or the gradient stopped being finite.

    Attributes:
        step: the first step, from 0, at which this was so.
    """

    def __init__(self, step: int) -> None:
        super().__init__(f"training diverged: the loss or its gradient is not finite at step {step}")
        self.step = step

    def __reduce__(self) -> tuple[type[TrainingDiverged], tuple[int]]:
        """Pickles by its step, so that a worker can send it to the search."""
        return TrainingDiverged, (self.step,)


class LossWatch:
    """Reads every step's loss and gradient norm, and raises for the first that is not finite.

    On the CPU at once. On CUDA one step late: reading a value at once would empty the device's queue in every
    step, while waiting for the step before the one just queued leaves it that one to work on.

    Args:
        device: what the values are computed on.
        on_step: called with (step, loss) for each step in order, once it is known to be finite.
    """

    def __init__(self, device: torch.device, on_step: Callable[[int, float], None] | None = None) -> None:
        self._is_cuda = device.type == "cuda"
        self._on_step = on_step
        self._pending: deque[tuple[int, Tensor, torch.cuda.Event | None]] = deque()
        self.losses: list[float] = []

    def watch(self, step: int, loss: Tensor, norm: Tensor) -> None:
        """Takes a step's loss and gradient norm, scalars.

        Raises:
            TrainingDiverged: a value of this step, or on CUDA of the one before, is not finite.
        """
        values = torch.stack((loss.detach(), norm.detach()))
        event = None
        if self._is_cuda:
            values = torch.empty_like(values, device="cpu", pin_memory=True).copy_(values, non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
        self._pending.append((step, values, event))
        while len(self._pending) > self._is_cuda:
            self._read()

    def finish(self) -> None:
        """Reads what has not been read yet.

        Raises:
            TrainingDiverged: as `watch`.
        """
        while self._pending:
            self._read()

    def _read(self) -> None:
        step, values, event = self._pending.popleft()
        if event is not None:
            event.synchronize()
        loss, norm = values.tolist()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingDiverged(step)
        self.losses.append(loss)
        if self._on_step is not None:
            self._on_step(step, loss)
