from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from spinesearch.data.open import CocoDataSettings, open_data
from spinesearch.training.input.batches import load_batch, one_ahead, shuffled_batches


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


def test_one_ahead_keeps_order_and_passes_errors_on() -> None:
    def items(fail_at: int) -> Iterator[int]:
        for i in range(10):
            if i == fail_at:
                raise OSError("disk gone")
            yield i

    assert list(one_ahead(items(fail_at=99))) == list(range(10))
    assert list(one_ahead([])) == []
    received: list[int] = []
    with pytest.raises(OSError, match="disk gone"):
        received.extend(one_ahead(items(fail_at=4)))
    assert received == [0, 1, 2, 3]


def test_one_ahead_makes_the_next_while_one_is_used() -> None:
    made: list[int] = []
    make: Callable[[int], int] = lambda i: made.append(i) or i  # type: ignore[func-returns-value]  # noqa: E731
    stream = one_ahead(map(make, range(5)))
    assert next(stream) == 0
    stream.close()
    assert made == [0, 1]  # the second was begun before the first was handed over, and no third
