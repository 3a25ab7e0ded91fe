"""Batches of the images that a task trains on: `TrainingBatches`; from a GPU's memory, `DevicePack`.

Shapes: N images of the pack, n of them trained on, B of a batch, S side of the square.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spinesearch.data.open import ProxyData
from spinesearch.training.input.augment import Batch
from spinesearch.training.input.batches import load_batch, load_batches, read_images, shuffled_batches
from spinesearch.training.process.device_memory import return_unused, usable_bytes
from spinesearch.training.process.failures import is_out_of_memory

_log = logging.getLogger(__name__)

MAX_SHARE = 0.75  # of the memory that the process may use; own: the rest is for the training
_CHUNK = 256  # images that are copied at once


class DevicePack:
    """Images on the device, from which a step takes its batch by an index: nothing large is copied any more.

    Args:
        data: whose training images; a batch of others cannot be loaded.
        device: where to.
    """

    def __init__(self, data: ProxyData, device: torch.device) -> None:
        index = data.train_index
        self._rows = np.full(len(data.pack.sizes), -1)
        self._rows[index] = np.arange(len(index))
        self._images = torch.empty(
            (len(index), *data.pack.images.shape[1:]), dtype=torch.uint8, device=device
        )
        for first in range(0, len(index), _CHUNK):
            part = index[first : first + _CHUNK]
            self._images[first : first + len(part)] = read_images(
                data.pack.images, part, pinned=device.type == "cuda"
            )

    def load(self, data: ProxyData, index: npt.NDArray[np.int64], device: torch.device) -> Batch:
        """As `load_batch`, but with the numbers of the images `[B]` in place of the images."""
        return load_batch(data, index, device, images=torch.from_numpy(self._rows[index]))

    def with_images(self, batch: Batch) -> Batch:
        """A batch of `load` on the device with its images `[B, 3, S, S]`; nothing waits for it."""
        return batch._replace(images=self._taken(batch.images))

    def _taken(self, rows: Tensor) -> Tensor:
        return self._images.index_select(0, rows).permute(0, 3, 1, 2)


def fits(data: ProxyData, device: torch.device) -> bool:
    """Whether the images that are trained on have room on this device, which must be a GPU."""
    return device.type == "cuda" and _num_bytes(data) <= MAX_SHARE * usable_bytes(device)


def _num_bytes(data: ProxyData) -> int:
    return len(data.train_index) * math.prod(data.pack.images.shape[1:])


def _kept(data: ProxyData, device: torch.device) -> DevicePack | None:
    """The images on a GPU; None on the CPU and, which is logged, where there is no room for them."""
    if fits(data, device):
        try:
            return DevicePack(data, device)
        except Exception as error:  # a neighbour was faster, or main memory to copy from could not be pinned
            if not is_out_of_memory(error, device):
                raise
    if device.type == "cuda":
        return_unused(device)
        _log.warning(
            "proxy_task.pack_on_device: the training images stay in main memory: they take %.2f GiB, and of "
            "the %.2f GiB of %s that this process may use three quarters are for them",
            _num_bytes(data) / 2**30,
            usable_bytes(device) / 2**30,
            device,
        )
    return None


class TrainingBatches:
    """Batches of the images that a task trains on, each in an order that a generator decides.

    Args:
        data: whose training images.
        device: where they are used.
        is_kept: whether the images are to be kept on the device, where they fit.

    Attributes:
        pack: holds the images, if they are kept there.
    """

    def __init__(self, data: ProxyData, device: torch.device, *, is_kept: bool) -> None:
        self._data, self._device = data, device
        self.pack = _kept(data, device) if is_kept else None

    def raw(
        self, num_batches: int, batch_size: int, generator: torch.Generator, *, first: int = 0
    ) -> Iterator[Batch]:
        """So many batches without those before ``first``: of numbers in the `pack`, where there is one."""
        order = shuffled_batches(
            self._data.train_index, batch_size=batch_size, num_batches=num_batches, generator=generator
        )
        load = None if self.pack is None else self.pack.load
        return load_batches(self._data, islice(order, first, None), self._device, load)

    def whole(self, num_batches: int, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """So many batches on the device, with their images."""
        for batch in self.raw(num_batches, batch_size, generator):
            moved = batch.to(self._device)
            yield moved if self.pack is None else self.pack.with_images(moved)
