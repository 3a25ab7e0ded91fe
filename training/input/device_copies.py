"""Batches on their way to a GPU: each is copied there while the one before it is in use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import cycle

import torch
from torch import Tensor

from spinesearch.training.input.augment import Batch

NUM_SLOTS = 2  # one is read while the other is written


def copied(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """The same batches in the memory of a GPU, by a stream of copies beside the one that works on them.

    Each is good until the next is asked for, when all work on it must have been given to the current stream;
    its memory is then used again.

    Args:
        batches: in pinned memory.
        device: the GPU.
    """
    copies = _copy_stream(device)
    try:
        slots = cycle([_Slot(device, copies) for _ in range(NUM_SLOTS)])
        for slot, batch in zip(slots, batches, strict=False):
            yield slot.filled(batch)
            slot.release()
    finally:  # the slots' memory goes back to that stream, which others may be given
        copies.wait_stream(torch.cuda.current_stream(device))


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    """One for the process: torch's allocator keeps memory apart for every stream that has used some."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class _Slot:
    """Memory for a batch on the device.

    Args:
        device: the GPU.
        copies: the stream on which it is filled.
    """

    def __init__(self, device: torch.device, copies: torch.cuda.Stream) -> None:
        self._device = device
        self._copies = copies
        self._tensors: list[Tensor | None] = [None] * len(Batch._fields)
        self._is_free, self._is_full = (torch.cuda.Event() for _ in range(2))  # type: ignore[no-untyped-call]

    def filled(self, batch: Batch) -> Batch:
        """The batch on the device, once the current stream has come to where this is called."""
        with torch.cuda.stream(self._copies):
            self._copies.wait_event(self._is_free)  # at once if that was never recorded
            self._tensors = [self._copied(*pair) for pair in zip(self._tensors, batch, strict=True)]
            self._is_full.record(self._copies)
        torch.cuda.current_stream(self._device).wait_event(self._is_full)
        return Batch(*self._tensors)  # type: ignore[arg-type]

    def release(self) -> None:
        """What the current stream has been given so far is the last to read the batch."""
        self._is_free.record(torch.cuda.current_stream(self._device))

    def _copied(self, old: Tensor | None, new: Tensor | None) -> Tensor | None:
        if new is None:  # masks, of a model of boxes
            return None
        if old is None or old.shape != new.shape:  # images keep their order in memory
            old = torch.empty_like(new, device=self._device, pin_memory=False)
        return old.copy_(new, non_blocking=True)
