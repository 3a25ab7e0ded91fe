"""Augmentation of a whole batch against the plain way: one image, one pixel, one box at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spinesearch.models.heads.normalize import IMAGENET_MEAN, IMAGENET_STD
from spinesearch.training.input.augment import (
    MIN_SIDE,
    Batch,
    Placement,
    draw,
    normalize,
    place,
    placement_of,
)
from spinesearch.training.targets.matching import BACKGROUND

SIDE = 24


def random_batch(num_images: int, rng: np.random.Generator) -> Batch:
    """Noise images of many shapes with up to five boxes each, padded."""
    images = torch.zeros(num_images, 3, SIDE, SIDE, dtype=torch.uint8)
    content = torch.zeros(num_images, 2)
    boxes = torch.zeros(num_images, 5, 4)
    labels = torch.full((num_images, 5), BACKGROUND)
    for i in range(num_images):
        width, height = (SIDE, int(rng.integers(1, SIDE + 1)))[:: rng.choice([-1, 1])]
        content[i] = torch.tensor([width, height])
        images[i, :, :height, :width] = torch.from_numpy(
            rng.integers(0, 256, (3, height, width), dtype=np.uint8)
        )
        for k in range(rng.integers(0, 6)):
            x = np.sort(rng.uniform(0, width, 2))
            y = np.sort(rng.uniform(0, height, 2))
            boxes[i, k] = torch.tensor([x[0], y[0], x[1], y[1]])
            labels[i, k] = int(rng.integers(0, 3))
    return Batch(images, content, boxes, labels)


def plain_normalized(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    out = np.zeros(pixels.shape)
    for channel in range(3):
        for y in range(height):
            for x in range(width):
                value = pixels[channel, y, x] / 255
                out[channel, y, x] = (value - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
    return out


def plain_placed(
    image: np.ndarray, width: float, is_flipped: bool, scale: float, offset: tuple[float, float]
) -> np.ndarray:
    """Every output pixel looks up, at its centre, where it comes from; between four pixels it is bilinear."""
    out = np.zeros(image.shape)
    for row in range(SIDE):
        for column in range(SIDE):
            x = (column + 0.5 + offset[0]) / scale
            y = (row + 0.5 + offset[1]) / scale
            x = width - x if is_flipped else x
            left, top = math.floor(x - 0.5), math.floor(y - 0.5)
            for i, j in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
                if 0 <= i < SIDE and 0 <= j < SIDE:
                    weight = (1 - abs(x - 0.5 - j)) * (1 - abs(y - 0.5 - i))
                    out[:, row, column] += weight * image[:, i, j]
    return out


def plain_boxes(
    boxes: list[list[float]],
    labels: list[int],
    width: float,
    is_flipped: bool,
    scale: float,
    offset: tuple[float, float],
) -> list[tuple[list[float], int] | None]:
    """Each box after it, or None where too little of it is left."""
    out: list[tuple[list[float], int] | None] = []
    for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True):
        if is_flipped:
            x1, x2 = width - x2, width - x1
        corners = [
            x1 * scale - offset[0],
            y1 * scale - offset[1],
            x2 * scale - offset[0],
            y2 * scale - offset[1],
        ]
        cut = [min(max(value, 0.0), SIDE) for value in corners]
        is_kept = all(
            cut[i + 2] - cut[i] >= MIN_SIDE or (cut[i] == corners[i] and cut[i + 2] == corners[i + 2])
            for i in range(2)
        )
        corners = cut
        out.append((corners, label) if is_kept and label != BACKGROUND else None)
    return out


@pytest.mark.parametrize("scale_jitter", [(1.0, 1.0), (0.8, 1.2), (0.5, 2.0)])
@pytest.mark.parametrize("flip", [False, True])
def test_a_batch_is_augmented_as_its_images_one_by_one(flip: bool, scale_jitter: tuple[float, float]) -> None:
    rng = np.random.default_rng(int(flip) + round(10 * scale_jitter[1]))
    num_images = 40
    raw = random_batch(num_images, rng)
    generator = torch.Generator().manual_seed(5)
    draws = draw(num_images, generator)
    placement = placement_of(draws, raw.content, SIDE, flip=flip, scale_jitter=scale_jitter)
    batch = place(normalize(raw), placement)
    num_kept = 0
    for i in range(num_images):
        width, height = raw.content[i].tolist()
        is_flipped = bool(placement.is_flipped[i])
        scale = float(placement.scale[i])
        offset = (float(placement.offset[i, 0]), float(placement.offset[i, 1]))
        image = plain_normalized(raw.images[i].numpy(), int(width), int(height))
        expected = plain_placed(image, width, is_flipped, scale, offset)
        # float32 places a sample to some 1e-6 of the side; between neighbours values differ by 5 at most.
        np.testing.assert_allclose(batch.images[i].numpy(), expected, rtol=0, atol=1e-3)
        boxes, labels = raw.boxes[i].tolist(), raw.labels[i].tolist()
        rows = plain_boxes(boxes, labels, width, is_flipped, scale, offset)
        for row, box, label in zip(rows, batch.boxes[i], batch.labels[i].tolist(), strict=True):
            if row is None:
                assert label == BACKGROUND
            else:
                num_kept += 1
                assert label == row[1]
                np.testing.assert_allclose(box.numpy(), row[0], rtol=0, atol=1e-4)
        edge = [min(width * scale - offset[0], SIDE), min(height * scale - offset[1], SIDE)]
        np.testing.assert_allclose(batch.content[i].numpy(), edge, rtol=0, atol=1e-4)
    assert num_kept > 50
    assert bool(placement.is_flipped.any()) == flip


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda_a_batch_is_augmented_as_on_the_cpu() -> None:
    raw = random_batch(16, np.random.default_rng(0))
    results = []
    for device in ("cpu", "cuda"):
        moved = raw.to(device)
        generator = torch.Generator().manual_seed(5)
        draws = draw(16, generator).to(device)
        placement = placement_of(draws, moved.content, SIDE, flip=True, scale_jitter=(0.5, 2.0))
        assert isinstance(placement, Placement)
        out = place(normalize(moved), placement)[:4]  # there are no masks
        assert all(tensor.device.type == device for tensor in out)
        results.append([tensor.cpu() for tensor in out])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)
