"""Batches of the packed data set, in an order that a seed decides.

Shapes: B images of a batch, S side of the square, M boxes per image after padding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spinesearch.data.open import ProxyData
from spinesearch.data.pack.jpegs import MAX_THREADS, JpegImages
from spinesearch.data.pack.storage import PackedImages
from spinesearch.data.parallel import num_processors
from spinesearch.training.input.augment import Batch
from spinesearch.training.input.masks import object_masks

T = TypeVar("T")


def shuffled_batches(
    index: npt.NDArray[np.int64], *, batch_size: int, num_batches: int, generator: torch.Generator
) -> Iterator[npt.NDArray[np.int64]]:
    """This many arrays `[batch_size]` of positions in the pack, from one random permutation after the other.

    A batch may reach over the end of a pass, so all are full and no image is left out of a pass.
    """
    pending = index[:0]
    for _ in range(num_batches):
        while len(pending) < batch_size:
            order = torch.randperm(len(index), generator=generator).numpy()
            pending = np.concatenate((pending, index[order]))
        yield pending[:batch_size]
        pending = pending[batch_size:]


def load_batch(data: ProxyData, index: npt.NDArray[np.int64], device: torch.device) -> Batch:
    """The uint8 images `[B, 3, S, S]` at these positions of the pack, with their boxes, in main memory.

    Args:
        data: where from.
        index: `[B]`.
        device: where they are used; for a GPU they are in pinned memory, which it reads by itself.
    """
    labels = data.labels[index]
    num_boxes = int((labels >= 0).sum(axis=1).max(initial=0))  # objects stand before the padding
    arrays = (
        data.pack.sizes[index].astype(np.float32),
        data.boxes[index, :num_boxes],
        labels[:, :num_boxes],
    )
    tensors = [read_images(data.pack.images, index, pinned=device.type == "cuda")]
    tensors += [torch.from_numpy(array) for array in arrays]
    if data.masks is not None:
        tensors += [torch.from_numpy(object_masks(data, index, num_boxes)), tensors[2].clone()]
    if device.type == "cuda":
        tensors = [tensor.pin_memory() for tensor in tensors]
    images, *rest = tensors
    return Batch(images.permute(0, 3, 1, 2), *rest)


def load_batches(
    data: ProxyData, indices: Iterable[npt.NDArray[np.int64]], device: torch.device
) -> Iterator[Batch]:
    """What `load_batch` gives for each; for a GPU each is loaded while the one before it is in use."""
    batches = (load_batch(data, index, device) for index in indices)
    return one_ahead(batches) if device.type == "cuda" else batches


def read_images(images: PackedImages, index: npt.NDArray[np.int64], *, pinned: bool) -> Tensor:
    """The uint8 images `[B, S, S, 3]` at these positions, copied or decoded once, to where they are used.

    For a GPU as many threads decode as the process has processors, `MAX_THREADS` at most. On the CPU it is
    torch's threads that train, and as many decode: the other processors are the other workers'.

    Args:
        images: of a pack.
        index: `[B]`, each in 0..N-1.
        pinned: whether to put them into pinned memory, which a GPU reads by itself.
    """
    out = torch.empty((len(index), *images.shape[1:]), dtype=torch.uint8, pin_memory=pinned)
    if isinstance(images, JpegImages):
        num_threads = num_processors() if pinned else torch.get_num_threads()
        images.read(index, out.numpy(), num_threads=min(num_threads, MAX_THREADS))
    else:
        np.take(np.asarray(images), index, axis=0, out=out.numpy(), mode="clip")  # "raise" would buffer
    return out


def one_ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items, each made on another thread while its predecessor is in use."""
    iterator = iter(items)
    with ThreadPoolExecutor(max_workers=1) as pool:
        pending = pool.submit(lambda: list(_take_one(iterator)))
        while item := pending.result():
            pending = pool.submit(lambda: list(_take_one(iterator)))
            yield from item


def _take_one(iterator: Iterator[T]) -> Iterator[T]:
    for item in iterator:
        yield item
        return
