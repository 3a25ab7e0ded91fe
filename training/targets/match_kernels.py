"""`make_targets` as two Triton kernels, whose time is that of the objects and not of the padded rows.

The plain form writes some thirty tensors of the shape `[B, M, A]`, M that of the image with most objects.
Here an overlap is computed where it is needed and written nowhere, each image's own objects alone are gone
through, and padded rows end at once. Every number is rounded as PyTorch's own operations round it (no fused
multiply-add, IEEE division), so that the targets are equal, ties included.

Shapes: B images, M boxes per image after padding, A anchors.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"
# Triton's kernels are a language of their own: their arguments are pointers and numbers of the device.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from spinesearch.training.targets.matching import BACKGROUND, MATCH_IOU, make_targets

_BLOCK = 512  # anchors at a time
_MATCH_IOU = tl.constexpr(MATCH_IOU)
_NONE = tl.constexpr(BACKGROUND)
_TINY = tl.constexpr(torch.finfo(torch.float32).tiny)


def fused_make_targets(anchors: Tensor, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Classes `[B, A]` and codes `[B, A, 4]`: `make_targets` of the same arguments, to the last bit.

    Args:
        anchors: `[A, 4]` float32.
        boxes: `[B, M, 4]` float32.
        labels: `[B, M]` int64, `BACKGROUND` in padded rows, whose boxes may be anything.
    """
    num_images, num_rows = labels.shape
    if num_rows == 0:
        return make_targets(anchors, boxes, labels)
    num_anchors = len(anchors)
    anchors, boxes, labels = anchors.contiguous(), boxes.contiguous(), labels.contiguous()
    claims = torch.empty_like(labels, dtype=torch.int32)
    _claim[(num_images, num_rows)](
        anchors, boxes, labels, claims, num_rows, num_anchors, block=_BLOCK, enable_fp_fusion=False
    )
    row_numbers = torch.arange(1, num_rows + 1, dtype=torch.int32, device=labels.device)
    ends = torch.where(labels == BACKGROUND, 0, row_numbers).amax(1)  # one past the last object
    classes = torch.empty(num_images, num_anchors, dtype=torch.int64, device=boxes.device)
    codes = torch.empty(num_images, num_anchors, 4, device=boxes.device)
    _assign[(num_images, triton.cdiv(num_anchors, _BLOCK))](
        anchors,
        boxes,
        labels,
        claims,
        ends,
        classes,
        codes,
        num_rows,
        num_anchors,
        block=_BLOCK,
        enable_fp_fusion=False,
    )
    codes[..., 2:].log_()  # by PyTorch, whose logarithm the plain form has
    return classes, codes


@triton.jit
def _corners(boxes, index):
    """Left, top, right and bottom of the boxes at these places."""
    first = boxes + index * 4
    return tl.load(first), tl.load(first + 1), tl.load(first + 2), tl.load(first + 3)


@triton.jit
def _overlap(x1, y1, x2, y2, ox1, oy1, ox2, oy2):
    """Intersection over union, in `pairwise_iou`'s order of operations."""
    width = tl.maximum(tl.minimum(x2, ox2) - tl.maximum(x1, ox1), 0.0)
    height = tl.maximum(tl.minimum(y2, oy2) - tl.maximum(y1, oy1), 0.0)
    intersection = width * height
    union = ((x2 - x1) * (y2 - y1) + (ox2 - ox1) * (oy2 - oy1)) - intersection
    return tl.div_rn(intersection, tl.maximum(union, _TINY))


@triton.jit
def _claim(anchors, boxes, labels, claims, num_rows, num_anchors, block: tl.constexpr):
    """The first of the anchors that overlap a row's box most, or `BACKGROUND` where none does."""
    row = tl.program_id(0).to(tl.int64) * num_rows + tl.program_id(1)
    if tl.load(labels + row) == _NONE:
        tl.store(claims + row, _NONE)
    else:
        x1, y1, x2, y2 = _corners(boxes, row)
        offsets = tl.arange(0, block)
        best = tl.full((block,), 0.0, tl.float32)
        best_anchor = tl.full((block,), _NONE, tl.int32)
        for first in range(0, num_anchors, block):
            index = tl.minimum(first + offsets, num_anchors - 1)
            ax1, ay1, ax2, ay2 = _corners(anchors, index)
            overlap = _overlap(x1, y1, x2, y2, ax1, ay1, ax2, ay2)
            is_better = overlap > best  # of equals the first anchor stays
            best = tl.where(is_better, overlap, best)
            best_anchor = tl.where(is_better, index, best_anchor)
        most = tl.max(best, axis=0)
        first_of_equals = tl.min(tl.where(best == most, best_anchor, num_anchors), axis=0)
        tl.store(claims + row, tl.where(most > 0.0, first_of_equals, _NONE))


@triton.jit
def _assign(
    anchors,
    boxes,
    labels,
    claims,
    ends,
    classes,
    codes,
    num_rows,
    num_anchors,
    block: tl.constexpr,
):
    """Class and code of each anchor of one image; the logarithms of the codes are left to take."""
    image = tl.program_id(0).to(tl.int64)
    index = tl.program_id(1) * block + tl.arange(0, block)
    is_inside = index < num_anchors
    ax1, ay1, ax2, ay2 = _corners(anchors, tl.minimum(index, num_anchors - 1))
    best = tl.full((block,), -1.0, tl.float32)
    best_row = tl.full((block,), 0, tl.int32)
    forced_row = tl.full((block,), 0, tl.int32) + num_rows
    for row in range(0, tl.load(ends + image)):
        place = image * num_rows + row
        if tl.load(labels + place) != _NONE:
            x1, y1, x2, y2 = _corners(boxes, place)
            overlap = _overlap(x1, y1, x2, y2, ax1, ay1, ax2, ay2)
            is_better = overlap > best  # of equals the first row stays
            best = tl.where(is_better, overlap, best)
            best_row = tl.where(is_better, row, best_row)
            is_claimed = index == tl.load(claims + place)
            forced_row = tl.where(is_claimed, tl.minimum(forced_row, row), forced_row)
    is_forced = forced_row < num_rows
    is_object = is_forced | (best >= _MATCH_IOU)
    source = image * num_rows + tl.where(is_forced, forced_row, best_row)
    label = tl.where(is_object, tl.load(labels + source), _NONE)
    x1, y1, x2, y2 = _corners(boxes, source)
    # An anchor without an object has its own code, which is zero once the logarithms are taken.
    x1, y1 = tl.where(is_object, x1, ax1), tl.where(is_object, y1, ay1)
    x2, y2 = tl.where(is_object, x2, ax2), tl.where(is_object, y2, ay2)
    height, width = ay2 - ay1, ax2 - ax1
    place = image * num_anchors + index
    tl.store(classes + place, label, mask=is_inside)
    code = codes + place * 4
    tl.store(code, tl.div_rn((y1 + y2) * 0.5 - (ay1 + ay2) * 0.5, height), mask=is_inside)
    tl.store(code + 1, tl.div_rn((x1 + x2) * 0.5 - (ax1 + ax2) * 0.5, width), mask=is_inside)
    tl.store(code + 2, tl.div_rn(y2 - y1, height), mask=is_inside)
    tl.store(code + 3, tl.div_rn(x2 - x1, width), mask=is_inside)
