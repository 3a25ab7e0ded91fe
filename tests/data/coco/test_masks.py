"""Boxes of masks, against pycocotools."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from spinesearch.data.coco.masks import box_of_mask


def random_mask(rng: np.random.Generator) -> np.ndarray:
    height, width = rng.integers(1, 40, 2)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(1, 4)):
        top, left = rng.integers(0, height), rng.integers(0, width)
        mask[top : top + rng.integers(1, 20), left : left + rng.integers(1, 20)] = 1
    return mask & (rng.random(mask.shape) < rng.choice([0.3, 1.0]))


def test_rle_gives_the_box_of_pycocotools() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        mask = random_mask(rng)
        encoded = coco_mask.encode(np.asfortranarray(mask))
        flat = mask.ravel(order="F").astype(int)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
        counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
        size = list(mask.shape)
        expected = tuple(coco_mask.toBbox(encoded).tolist()) if mask.any() else None
        assert box_of_mask({"size": size, "counts": encoded["counts"].decode()}) == expected
        assert box_of_mask({"size": size, "counts": counts}) == expected


def test_polygons_give_their_extent() -> None:
    assert box_of_mask([[1, 2, 11, 2.5, 5, 22]]) == (1, 2, 10, 20)
    assert box_of_mask([[1, 2, 11, 2, 5, 9], [20, 30, 21, 31, 20, 31]]) == (1, 2, 20, 29)
    assert box_of_mask([1, 2, "11", "2", 5, 22]) == (1, 2, 10, 20)


@pytest.mark.parametrize(
    "mask",
    [
        None,
        "polygon",
        3,
        [],
        [[]],
        [[1, 2, 3]],
        [["a", "b"]],
        [[1, 2], 3],
        {},
        {"size": [2, 2]},
        {"size": [2], "counts": [4]},
        {"size": [2, 2], "counts": [4]},
        {"size": [2, 2], "counts": []},
        {"size": [2, 2], "counts": [1, 9]},
        {"size": [2, 2], "counts": [3, -2, 3]},
        {"size": [0, 0], "counts": [0, 0]},
        {"size": [2, 2], "counts": None},
    ],
)
def test_what_is_no_mask_has_no_box(mask: Any) -> None:
    assert box_of_mask(mask) is None
