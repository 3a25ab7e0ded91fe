"""Where the time goes: laps by name."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch

Lap = Callable[[str], None]
"""Called with the name of the phase that has just ended; the next one begins."""


def no_lap(name: str) -> None:
    """Does nothing: nothing is measured."""


class Phase(NamedTuple):
    """A phase that has ended: its name, and how long it took."""

    name: str
    seconds: float


class Stopwatch:
    """A `Lap` that measures; runs from its construction.

    On CUDA the moments are events in the device's own queue, so that measuring makes nothing wait: a phase
    then takes from the end of the device's earlier work to the end of the phase's, whatever the processor did
    meanwhile, and includes the time in which the device had nothing to do.

    Args:
        device: whose work is measured.
    """

    def __init__(self, device: torch.device) -> None:
        self._is_cuda = device.type == "cuda"
        self._names: list[str] = []
        self._events: list[torch.cuda.Event] = []
        self._times: list[float] = []
        self._mark()

    def __call__(self, name: str) -> None:
        """End the phase of this name."""
        self._names.append(name)
        self._mark()

    def phases(self) -> list[Phase]:
        """Everything measured so far, in order; waits for the device."""
        if self._is_cuda:
            torch.cuda.synchronize()
            # One by one: an event's time is a float32 of milliseconds, too coarse for a whole training.
            seconds = [a.elapsed_time(b) / 1e3 for a, b in pairwise(self._events)]
        else:
            seconds = [b - a for a, b in pairwise(self._times)]
        return [Phase(*item) for item in zip(self._names, seconds, strict=True)]

    def _mark(self) -> None:
        if not self._is_cuda:
            self._times.append(time.perf_counter())
            return
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        self._events.append(event)
