"""Features of regions: RoIAlign as the released code has it, its multilevel crop.

Shapes: B images, P regions per image, C channels, S cells a side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

# A region of CANONICAL_SIDE pixels a side is cropped from level CANONICAL_LEVEL, one of half the side from
# the level below: the released code, after equation 1 of feature pyramids (arXiv 1612.03144).
CANONICAL_SIDE = 224.0
CANONICAL_LEVEL = 4
_LEAST_SIDE = 1e-3  # px; the logarithm of a padded row's side stays finite


def crop_levels(boxes: Tensor, levels: tuple[int, ...]) -> Tensor:
    """The level `[...]` that each of boxes `[..., 4]` is cropped from, one of these consecutive levels."""
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=_LEAST_SIDE)
    exponent = (sides.prod(dim=-1).sqrt() / CANONICAL_SIDE).log() / math.log(2.0)
    return (exponent.floor().long() + CANONICAL_LEVEL).clamp(levels[0], levels[-1])


def crop_regions(features: Mapping[int, Tensor], boxes: Tensor, side: int) -> Tensor:
    """Features `[B * P, C, S, S]` of regions, each from the level that its size says.

    A region is divided into S x S cells. A cell's value is interpolated bilinearly from the 2 x 2 feature
    points around its centre; the point in row i of level l lies at i * 2 ** l pixels, as in the released
    code, without RoIAlign's half pixel. Beyond the last point the feature goes on as that point.

    Args:
        features: per level, consecutive, `[B, C, H, W]`.
        boxes: `[B, P, 4]`, xyxy pixels within the image; gradients do not reach them.
        side: S.
    """
    levels = tuple(sorted(features))
    first = features[levels[0]]
    num_images, channels = first.shape[:2]
    device = first.device
    flat = torch.cat([features[level].permute(0, 2, 3, 1).flatten(1, 2) for level in levels], dim=1)
    shapes = torch.tensor([features[level].shape[-2:] for level in levels], device=device)  # [levels, 2]
    areas = shapes.prod(dim=1)
    starts = areas.cumsum(0) - areas

    boxes = boxes.detach()
    chosen = crop_levels(boxes, levels) - levels[0]  # [B, P]
    stride = (2.0 ** (chosen + levels[0])).to(boxes.dtype)
    heights, widths = shapes[chosen].unbind(-1)
    centers = (torch.arange(side, device=device, dtype=boxes.dtype) + 0.5) / side
    x1, y1, x2, y2 = (boxes / stride.unsqueeze(-1)).unbind(-1)
    rows = _interpolation(y1.unsqueeze(-1) + centers * (y2 - y1).unsqueeze(-1), heights)
    columns = _interpolation(x1.unsqueeze(-1) + centers * (x2 - x1).unsqueeze(-1), widths)
    images = torch.arange(num_images, device=device).view(-1, 1) * flat.shape[1]
    base = (images + starts[chosen])[..., None, None]  # of the region's level, in rows of `flat`
    table = flat.flatten(0, 1)
    out: Tensor | None = None
    for row, row_weight in rows:
        for column, column_weight in columns:
            index = base + row.unsqueeze(-1) * widths[..., None, None] + column.unsqueeze(-2)
            weight = row_weight.unsqueeze(-1) * column_weight.unsqueeze(-2)  # [B, P, S, S]
            part = table.index_select(0, index.flatten()) * weight.flatten().unsqueeze(-1).to(table.dtype)
            out = part if out is None else out + part
    assert out is not None
    return out.view(-1, side, side, channels).permute(0, 3, 1, 2)


def _interpolation(places: Tensor, sizes: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The points `[B, P, S]` before and after places along an axis, each with its weight.

    Args:
        places: `[B, P, S]`, in steps of the level.
        sizes: `[B, P]`, points along the axis.
    """
    last = (sizes - 1).unsqueeze(-1)
    before = places.floor().long().clamp(min=0).minimum(last)
    weight = places - before
    return (before, 1 - weight), ((before + 1).minimum(last), weight)
