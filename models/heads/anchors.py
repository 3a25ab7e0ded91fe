"""The anchors of RetinaNet on P3..P7.

Shapes: A anchors of all levels together, in the order of the head's output: level, row, column, anchor.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spinesearch.space import OUTPUT_LEVELS

ASPECT_RATIOS = (1.0, 2.0, 0.5)  # width over height, in the authors' order


def anchors_per_cell(num_scales: int) -> int:
    """Number of anchors centred on each cell of a feature map."""
    return num_scales * len(ASPECT_RATIOS)


def make_anchors(image_size: int, *, num_scales: int, base_anchor: float) -> Tensor:
    """Anchors `[A, 4]`, xyxy in pixels of a square input of this side; those at the border reach beyond it.

    A level of stride s has cells centred at ((i + 0.5) * s); scale k of a cell has the area of a square of
    side ``base_anchor * s * 2 ** (k / num_scales)`` at each of `ASPECT_RATIOS`. Within a cell the scale is
    the outer loop. The computation is in float64 and rounded once to float32.
    """
    levels = []
    for level in OUTPUT_LEVELS:
        stride = 2**level
        num_cells = -(-image_size // stride)
        centers = (torch.arange(num_cells, dtype=torch.float64) + 0.5) * stride
        sides = base_anchor * stride * 2 ** (torch.arange(num_scales, dtype=torch.float64) / num_scales)
        roots = torch.tensor(ASPECT_RATIOS, dtype=torch.float64).sqrt()
        widths = (sides[:, None] * roots).flatten()
        heights = (sides[:, None] / roots).flatten()
        half = torch.stack((widths, heights), dim=-1) / 2  # [anchors per cell, (w, h)]
        y, x = torch.meshgrid(centers, centers, indexing="ij")
        center = torch.stack((x, y), dim=-1)[:, :, None]  # [row, column, 1, (x, y)]
        levels.append(torch.cat((center - half, center + half), dim=-1).reshape(-1, 4))
    return torch.cat(levels).float()
