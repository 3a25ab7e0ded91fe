"""Batches of the packed data set, in an order that a seed decides.

Shapes: B images of a batch, S side of the square, M boxes per image after padding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spinesearch.data.open import ProxyData
from spinesearch.data.pack.jpegs import JpegImages
from spinesearch.data.pack.storage import PackedImages
from spinesearch.data.parallel import MAX_THREADS, in_parts, num_processors
from spinesearch.training.input.augment import Batch
from spinesearch.training.input.device_copies import copied
from spinesearch.training.input.masks import object_masks

T = TypeVar("T")

LoadBatch = Callable[[ProxyData, npt.NDArray[np.int64], torch.device], Batch]

NUM_AHEAD = 2  # batches in the making while one is in use


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


def load_batch(
    data: ProxyData, index: npt.NDArray[np.int64], device: torch.device, *, images: Tensor | None = None
) -> Batch:
    """The uint8 images `[B, 3, S, S]` at these positions of the pack, with their boxes, in main memory.

    Args:
        data: where from.
        index: `[B]`.
        device: where they are used; for a GPU they are in pinned memory, which it reads by itself.
        images: what stands in the batch in place of the images, None for these.
    """
    num_boxes = int((data.labels[index] >= 0).sum(axis=1).max(initial=0))  # objects stand before the padding
    arrays = (
        data.pack.sizes[index].astype(np.float32),
        data.boxes[index, :num_boxes],
        data.labels[index, :num_boxes],
    )
    if images is None:
        pixels = read_images(data.pack.images, index, pinned=device.type == "cuda")
        images = pixels.permute(0, 3, 1, 2)
    batch = Batch(images, *map(torch.from_numpy, arrays))
    if data.masks is not None:
        masks = torch.from_numpy(object_masks(data, index, num_boxes))
        batch = batch._replace(masks=masks, mask_boxes=batch.boxes.clone())
    return batch.each(Tensor.pin_memory) if device.type == "cuda" else batch


def load_batches(
    data: ProxyData,
    indices: Iterable[npt.NDArray[np.int64]],
    device: torch.device,
    load: LoadBatch | None = None,
) -> Iterator[Batch]:
    """What `load_batch` gives for each, on the device and until the next is asked for: see `copied`.

    For a GPU `NUM_AHEAD` are loaded, and one of them is copied, while the one before is in use.

    Args:
        data: where from.
        indices: `[B]` each.
        device: where they are used.
        load: in place of `load_batch`.
    """
    calls = (partial(load or load_batch, data, index, device) for index in indices)
    if device.type != "cuda":
        return (call() for call in calls)
    # A thread begins on the first device, and pinned memory is taken through the thread's own.
    return copied(ahead(calls, begin_thread=partial(torch.cuda.set_device, device)), device)


def read_images(images: PackedImages, index: npt.NDArray[np.int64], *, pinned: bool) -> Tensor:
    """The uint8 images `[B, S, S, 3]` at these positions, copied or decoded once, to where they are used.

    For a GPU as many threads copy or decode as the process has processors, `MAX_THREADS` at most. On the CPU
    it is torch's threads that train, and as many decode: the other processors are the other workers'.

    Args:
        images: of a pack.
        index: `[B]`, each in 0..N-1.
        pinned: whether to put them into pinned memory, which a GPU reads by itself.
    """
    out = torch.empty((len(index), *images.shape[1:]), dtype=torch.uint8, pin_memory=pinned)
    num_threads = min(num_processors() if pinned else torch.get_num_threads(), MAX_THREADS)
    if isinstance(images, JpegImages):
        images.read(index, out.numpy(), num_threads=num_threads)
    else:
        array = np.asarray(images)

        def copy(part: npt.NDArray[np.int64], out: npt.NDArray[np.uint8]) -> None:
            np.take(array, part, axis=0, out=out, mode="clip")  # "raise" would buffer

        in_parts(copy, index, out.numpy(), num_threads=num_threads)
    return out


def ahead(calls: Iterable[Callable[[], T]], *, begin_thread: Callable[[], None]) -> Iterator[T]:
    """What each call returns, in order; `NUM_AHEAD` of them are made meanwhile, each on a thread of its own.

    Args:
        calls: looked at on the caller's thread, in order.
        begin_thread: called first on each of the threads.
    """
    remaining = iter(calls)
    with ThreadPoolExecutor(NUM_AHEAD, initializer=begin_thread) as pool:
        pending = deque(pool.submit(call) for call in islice(remaining, NUM_AHEAD))
        while pending:
            item = pending.popleft().result()
            pending.extend(pool.submit(call) for call in islice(remaining, 1))
            yield item
