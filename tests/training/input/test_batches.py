import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from spinesearch.data.open import CocoDataSettings, open_data
from spinesearch.training.input import batches as batches_module
from spinesearch.training.input.batches import NUM_AHEAD, ahead, load_batch, load_batches, shuffled_batches


def batches(index: np.ndarray, size: int, count: int, seed: int = 0) -> list[list[int]]:  # type: ignore[type-arg]
    generator = torch.Generator().manual_seed(seed)
    return [
        b.tolist() for b in shuffled_batches(index, batch_size=size, num_batches=count, generator=generator)
    ]


def test_every_pass_holds_every_image_once() -> None:
    index = np.array([3, 5, 8, 9, 11, 20, 21])
    found = batches(index, 3, 7)  # three passes exactly
    assert all(len(b) == 3 for b in found)
    flat = [i for b in found for i in b]
    passes = [flat[:7], flat[7:14], flat[14:]]
    assert [sorted(p) for p in passes] == [index.tolist()] * 3
    assert passes[0] != passes[1]
    assert found == batches(index, 3, 7)
    assert found != batches(index, 3, 7, seed=1)


def test_a_batch_may_be_larger_than_the_data() -> None:
    assert sorted(batches(np.array([1, 2]), 5, 1)[0]) in ([1, 1, 1, 2, 2], [1, 1, 2, 2, 2])


def test_batches_hold_pixels_sizes_and_boxes(tiny_coco, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tiny_coco.save()
    settings = CocoDataSettings(
        train_images=str(tiny_coco.images_dir),
        train_annotations=str(tiny_coco.path),
        held_out_share=0.5,
        cache_dir=str(tmp_path / "cache"),
    )
    data = open_data(settings, image_size=128)
    ids = [image.id for image in data.dataset.images]
    index = np.array([ids.index(11), ids.index(20)])  # one object each; image 7 has two
    batch = load_batch(data, index, torch.device("cpu"))
    assert batch.images.shape == (2, 3, 128, 128)
    assert batch.images.dtype == torch.uint8
    assert torch.equal(batch.images[1], torch.from_numpy(data.pack.images[index[1]].copy()).permute(2, 0, 1))
    assert batch.content.tolist() == [
        [128.0, 128.0],
        [26.0, 128.0],
    ]  # 64 x 64; 10 x 50, of which 25.6 is rounded
    assert batch.boxes.tolist() == [[[20.0, 20.0, 60.0, 80.0]], [pytest.approx([5.12, 5.12, 20.48, 107.52])]]
    assert batch.labels.tolist() == [[1], [0]]
    assert load_batch(data, np.array([ids.index(7)]), torch.device("cpu")).boxes.shape == (1, 2, 4)


def calls_of(work: Callable[[int], int], count: int) -> list[Callable[[], int]]:
    return [partial(work, i) for i in range(count)]


def nothing() -> None:
    pass


def test_what_is_made_ahead_keeps_its_order_and_passes_errors_on() -> None:
    def work(i: int, fail_at: int = 4) -> int:
        if i == fail_at:
            raise OSError("disk gone")
        return i

    assert list(ahead(calls_of(partial(work, fail_at=99), 10), begin_thread=nothing)) == list(range(10))
    assert list(ahead([], begin_thread=nothing)) == []
    received: list[int] = []
    with pytest.raises(OSError, match="disk gone"):
        received.extend(ahead(calls_of(work, 10), begin_thread=nothing))
    assert received == [0, 1, 2, 3]


def test_two_are_made_at_once_while_one_is_used() -> None:
    made: set[int] = set()
    together = threading.Barrier(NUM_AHEAD, timeout=60)

    def work(i: int) -> int:
        if i in (1, 2):
            together.wait()  # passes only if both are under way
        made.add(i)
        return i

    stream = ahead(calls_of(work, 6), begin_thread=nothing)
    assert next(stream) == 0
    stream.close()  # type: ignore[attr-defined]
    assert made == {0, 1, 2}


def test_the_threads_that_load_for_a_gpu_are_on_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the second GPU's process would open a context on the first, for its pinned memory."""
    device = torch.device("cuda", 3)
    here = threading.local()
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: setattr(here, "device", device))
    monkeypatch.setattr(batches_module, "copied", lambda batches, device: batches)
    monkeypatch.setattr(batches_module, "load_batch", lambda data, index, of: (index, of, here.device))
    index = [np.array([i]) for i in range(4)]
    loaded = list(load_batches(None, index, device))  # type: ignore[arg-type]
    assert loaded == [(i, device, device) for i in index]


@pytest.mark.parametrize("num_threads", [1, 3])
def test_pixels_are_gathered_in_parts(num_threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 4, 4, 3), np.uint8)
    index = np.array([8, 0, 3, 3, 5, 1, 7])
    monkeypatch.setattr(torch, "get_num_threads", lambda: num_threads)
    found = batches_module.read_images(images, index, pinned=False)
    assert np.array_equal(found.numpy(), images[index])
