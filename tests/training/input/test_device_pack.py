"""A pack that stays on the device gives the batches, and the training, that one in main memory does."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fake_cuda import Memory
from recorded_graph import Sessions
from small_training import ANCHORS, CPU, SETTINGS, Cells
from torch import Tensor

from spinesearch.training.input import device_pack
from spinesearch.training.input.device_pack import TrainingBatches, fits
from spinesearch.training.optim.optimizer import FlatOptimizer
from spinesearch.training.step import train as train_module
from spinesearch.training.step.train import train

NUM_IMAGES, NUM_STEPS = 11, 7


@pytest.fixture(scope="module")
def data() -> Any:
    """As much of a `ProxyData` as a batch is made of; half of the images are trained on."""
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(0, 128, (NUM_IMAGES, 12, 2, 2)), axis=2)
    labels = rng.integers(0, 3, (NUM_IMAGES, 12))
    for image in range(NUM_IMAGES):
        labels[image, 1 + image :] = -1
    return SimpleNamespace(
        pack=SimpleNamespace(
            images=rng.integers(0, 256, (NUM_IMAGES, 128, 128, 3), np.uint8),
            sizes=rng.integers(64, 129, (NUM_IMAGES, 2)),
        ),
        boxes=corners.reshape(NUM_IMAGES, 12, 4).astype(np.float32),
        labels=labels,
        train_index=np.array([0, 2, 3, 5, 8, 10]),
        masks=None,
    )


def training_batches(data: Any, monkeypatch: pytest.MonkeyPatch, *, is_kept: bool) -> TrainingBatches:
    monkeypatch.setattr(device_pack, "fits", lambda data, device: True)
    batches = TrainingBatches(data, CPU, is_kept=is_kept)
    assert (batches.pack is not None) == is_kept
    return batches


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def test_batches_are_the_same(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, loaded = (training_batches(data, monkeypatch, is_kept=is_kept) for is_kept in (True, False))
    pairs = list(
        zip(kept.whole(NUM_STEPS, 3, generator()), loaded.whole(NUM_STEPS, 3, generator()), strict=True)
    )
    for ours, theirs in pairs:
        assert all(torch.equal(a, b) for a, b in zip(ours[:4], theirs[:4], strict=True))
        assert ours.images.stride() == theirs.images.stride()
    (later, *_), (raw, *_) = (
        list(batches.raw(NUM_STEPS, 3, generator(), first=4)) for batches in (loaded, kept)
    )
    assert torch.equal(later.images, pairs[4][0].images)
    assert (raw.images.dtype, raw.images.shape) == (torch.int64, (3,))  # nothing large is copied


@pytest.mark.parametrize("session", [None, Sessions()])
def test_a_training_is_the_same_with_the_index_in_its_graph(
    data: Any, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_module, "FlatOptimizer", partial(FlatOptimizer, is_capturable=True))
    found: list[list[float]] = []
    for is_kept in (False, True):
        torch.manual_seed(1)
        batches = training_batches(data, monkeypatch, is_kept=is_kept)
        losses: list[float] = []
        train(
            Cells(),
            batches.raw(NUM_STEPS, 3, generator()),
            ANCHORS,
            replace(SETTINGS, num_steps=NUM_STEPS).recipe(0),
            generator=torch.Generator().manual_seed(2),
            on_step=lambda step, loss, losses=losses: losses.append(loss),
            session=session,
            pack=batches.pack,
        )
        found.append(losses)
    assert found[0] == found[1]
    assert len(set(found[0])) == NUM_STEPS


def test_a_pack_fits_where_it_leaves_a_quarter(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 6 * 128 * 128 * 3
    gpu = torch.device("cuda", 0)
    for total, is_room in ((size * 4 // 3 + 1, True), (size * 4 // 3 - 1, False)):
        Memory(monkeypatch, total=total)
        assert fits(data, gpu) == is_room
    memory = Memory(monkeypatch, total=2 * size)
    memory.fraction = 0.5  # which is what this process may use
    assert not fits(data, gpu)
    assert not fits(data, CPU)


def test_a_pack_without_room_stays_in_main_memory_and_that_is_said(
    data: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unpinned(*args: object) -> None:
        raise RuntimeError("CUDA error: out of memory")  # torch's of pinned memory that the system refuses

    gpu = torch.device("cuda", 0)
    Memory(monkeypatch, total=2**18)
    assert TrainingBatches(data, gpu, is_kept=True).pack is None
    (record,) = caplog.records
    assert record.getMessage() == (
        "proxy_task.pack_on_device: the training images stay in main memory: they take 0.00 GiB, and of the "
        "0.00 GiB of cuda:0 that this process may use three quarters are for them"
    )
    memory = Memory(monkeypatch, total=2**40)
    monkeypatch.setattr(device_pack, "DevicePack", unpinned)
    assert TrainingBatches(data, gpu, is_kept=True).pack is None
    assert memory.emptied == 1
    assert "of the 1024.00 GiB of cuda:0" in caplog.records[1].getMessage()
    monkeypatch.setattr(device_pack, "DevicePack", dict)  # which takes no such arguments
    with pytest.raises(TypeError):
        TrainingBatches(data, gpu, is_kept=True)


def test_where_a_neighbour_was_faster_images_stay_in_main_memory(
    data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(device_pack, "fits", lambda data, device: True)
    monkeypatch.setattr(device_pack, "DevicePack", full)
    assert TrainingBatches(data, CPU, is_kept=True).pack is None
