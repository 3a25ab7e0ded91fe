"""Box arithmetic: areas, overlaps, clipping, and the codes that the head regresses.

Boxes are xyxy, (x1, y1, x2, y2) in pixels, as real-valued edges: width is x2 - x1, without the "+ 1" of
integer pixel boxes. Codes are (ty, tx, th, tw), y before x as in the authors' code, so that their weights
fit.

Shapes: ... any leading dimensions, N boxes, M other boxes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Limit of th and tw when decoding: a box grows to at most 1000 / 16 of its anchor, which keeps exp() finite
# in early training. Detectron2's constant; the authors' code clips with the same value.
MAX_LOG_SCALE = math.log(1000.0 / 16.0)


def box_area(boxes: Tensor) -> Tensor:
    """Areas `[...]` in square pixels of boxes `[..., 4]`."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def pairwise_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union `[..., N, M]` of boxes `[..., N, 4]` with others `[..., M, 4]`, in [0, 1].

    A pair whose union is empty has IoU 0, so rows of zeros can pad either side.
    """
    x1, y1, x2, y2 = boxes.unsqueeze(-2).unbind(-1)  # each [..., N, 1]
    ox1, oy1, ox2, oy2 = others.unsqueeze(-3).unbind(-1)  # each [..., 1, M]
    # In place: for the anchors of a batch each of these is several megabytes.
    width = torch.minimum(x2, ox2).sub_(torch.maximum(x1, ox1)).clamp_(min=0)
    height = torch.minimum(y2, oy2).sub_(torch.maximum(y1, oy1)).clamp_(min=0)
    intersection = width.mul_(height)
    union = (box_area(boxes).unsqueeze(-1) + box_area(others).unsqueeze(-2)).sub_(intersection)
    return intersection.div_(union.clamp_(min=torch.finfo(union.dtype).tiny))


def encode_boxes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Faster R-CNN codes `[..., 4]` of boxes `[..., 4]`, with positive sides, against anchors `[..., 4]`.

    ty and tx are the centre's offset in anchor sides, th and tw the logarithm of the ratio of sides; no
    further scale factors, as in the authors' RetinaNet (section 3.1.2 of Faster R-CNN, arXiv 1506.01497).
    """
    a_cy, a_cx, a_h, a_w = _center_and_sides(anchors)
    cy, cx, h, w = _center_and_sides(boxes)
    return torch.stack(((cy - a_cy) / a_h, (cx - a_cx) / a_w, (h / a_h).log(), (w / a_w).log()), dim=-1)


def decode_boxes(codes: Tensor, anchors: Tensor) -> Tensor:
    """Boxes `[..., 4]` of codes `[..., 4]` against anchors `[..., 4]`; undoes `encode_boxes`."""
    a_cy, a_cx, a_h, a_w = _center_and_sides(anchors)
    ty, tx, th, tw = codes.unbind(-1)
    cy, cx = ty * a_h + a_cy, tx * a_w + a_cx
    half_h = th.clamp(max=MAX_LOG_SCALE).exp() * a_h / 2
    half_w = tw.clamp(max=MAX_LOG_SCALE).exp() * a_w / 2
    return torch.stack((cx - half_w, cy - half_h, cx + half_w, cy + half_h), dim=-1)


def clip_boxes(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Boxes `[..., N, 4]` clipped to images of these sizes `[..., 2]`, (width, height)."""
    limits = torch.cat((sizes, sizes), dim=-1).unsqueeze(-2)  # [..., 1, 4], in x, y, x, y order
    return torch.minimum(boxes.clamp(min=0), limits)


def _center_and_sides(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x1, y1, x2, y2 = boxes.unbind(-1)
    return (y1 + y2) / 2, (x1 + x2) / 2, y2 - y1, x2 - x1
