"""Crops of regions: hand-computed values, the released formula cell by cell, finite differences."""

import math

import pytest
import torch
from torch import Tensor

from spinesearch.models.mask_rcnn.crop import crop_levels, crop_regions

LEVELS = (3, 4, 5, 6, 7)


def pyramid(side: int, channels: int = 2, num_images: int = 1) -> dict[int, Tensor]:
    torch.manual_seed(0)
    return {
        n: torch.randn(num_images, channels, -(-side // 2**n), -(-side // 2**n), dtype=torch.float64)
        for n in LEVELS
    }


def test_levels():
    sides = torch.tensor([1.0, 111.0, 112.0, 223.9, 224.0, 447.9, 448.0, 896.0, 5000.0])
    boxes = torch.stack((torch.zeros(9), torch.zeros(9), sides, sides), dim=-1)
    assert crop_levels(boxes, LEVELS).tolist() == [3, 3, 3, 3, 4, 4, 5, 6, 7]
    # The area decides: 448 x 112 is as large as 224 x 224.
    assert crop_levels(torch.tensor([[0.0, 0, 448, 112], [9, 9, 9, 9]]), LEVELS).tolist() == [4, 3]


def test_by_hand():
    feature = torch.tensor([[0.0, 10, 20, 30], [1, 11, 21, 31], [2, 12, 22, 32], [3, 13, 23, 33]])
    features = {n: torch.zeros(1, 1, 1, 1) for n in LEVELS} | {3: feature[None, None]}
    # From (x, y) = (4, 8) to (20, 24) px is from (0.5, 1) to (2.5, 3) in points of level 3; the centres of
    # its 2 x 2 cells are at x 1 and 2, y 1.5 and 2.5, and the feature is 10 x + y.
    box = torch.tensor([[[4.0, 8, 20, 24]]])
    assert crop_regions(features, box, 2)[0, 0].tolist() == [[11.5, 21.5], [12.5, 22.5]]
    # Beyond the last point the feature goes on as that point: centres at x 3.25 and 3.75, y 0.25 and 0.75.
    edge = torch.tensor([[[24.0, 0, 32, 8]]])
    assert crop_regions(features, edge, 2)[0, 0].tolist() == [[30.25, 30.25], [30.75, 30.75]]


def formula(features: dict[int, Tensor], image: int, box: list[float], side: int) -> Tensor:
    """One region as `multilevel_crop_and_resize` of the released code computes it, point by point."""
    x1, y1, x2, y2 = box
    level = math.floor(math.log(math.sqrt((x2 - x1) * (y2 - y1)) / 224.0) / math.log(2.0)) + 4
    feature = features[min(7, max(3, level))][image]
    stride = 2.0 ** min(7, max(3, level))
    out = torch.empty(feature.shape[0], side, side, dtype=feature.dtype)
    last_y, last_x = feature.shape[1] - 1, feature.shape[2] - 1
    for i in range(side):
        for j in range(side):
            y = y1 / stride + (i + 0.5) * (y2 - y1) / stride / side
            x = x1 / stride + (j + 0.5) * (x2 - x1) / stride / side
            y0, x0 = min(max(0, math.floor(y)), last_y), min(max(0, math.floor(x)), last_x)
            y_next, x_next = min(y0 + 1, last_y), min(x0 + 1, last_x)
            ly, lx = y - y0, x - x0
            out[:, i, j] = (
                (1 - ly) * (1 - lx) * feature[:, y0, x0]
                + (1 - ly) * lx * feature[:, y0, x_next]
                + ly * (1 - lx) * feature[:, y_next, x0]
                + ly * lx * feature[:, y_next, x_next]
            )
    return out


def test_equals_the_released_formula():
    features = pyramid(640, num_images=2)
    torch.manual_seed(1)
    corners = torch.rand(2, 40, 2, 2, dtype=torch.float64).pow(2) * 640
    boxes = torch.cat((corners.amin(dim=2), corners.amax(dim=2) + 0.5), dim=-1).clamp(max=640)
    assert len(crop_levels(boxes, LEVELS).unique()) >= 3
    for side in (7, 14):
        crops = crop_regions(features, boxes, side).unflatten(0, (2, 40))
        for image in range(2):
            for i in range(0, 40, 4):
                expected = formula(features, image, boxes[image, i].tolist(), side)
                torch.testing.assert_close(crops[image, i], expected, rtol=1e-9, atol=1e-9)


def test_gradient_is_that_of_finite_differences():
    features = pyramid(64)
    boxes = torch.tensor([[[3.0, 5, 29, 61], [0, 0, 64, 64]]], dtype=torch.float64)

    def crop(finest: Tensor) -> Tensor:
        return crop_regions(features | {3: finest}, boxes, 3)

    assert torch.autograd.gradcheck(crop, features[3].clone().requires_grad_())


@pytest.mark.parametrize("num_regions", [0, 1])
def test_regions_of_no_size_and_no_regions(num_regions: int):
    crops = crop_regions(pyramid(64), torch.zeros(1, num_regions, 4, dtype=torch.float64), 7)
    assert crops.shape == (num_regions, 2, 7, 7)
    assert torch.isfinite(crops).all()
