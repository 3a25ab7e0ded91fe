"""Which anchor is matched with which object: the training targets of RetinaNet.

Shapes: B images, M boxes per image after padding (label -1 marks a padded row), A anchors.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from spinesearch.models.heads.boxes import encode_boxes, pairwise_iou

MATCH_IOU = 0.5  # foreground at or above, background below: the authors' 0.5 / 0.5, so no anchor is ignored
BACKGROUND = -1
# Boxes compared with all anchors at a time. For 64 images of 512 px and 9 anchors a cell each takes 13 MB in
# every intermediate, so that one image full of objects must not multiply them.
_ROWS_AT_ONCE = 32
# Overlaps computed at a time where objects alone are compared: a megabyte, so that a processor's cache holds
# the intermediates.
_PAIRS_AT_ONCE = 2**18


def match_anchors(anchors: Tensor, boxes: Tensor, labels: Tensor, *, match_iou: float = MATCH_IOU) -> Tensor:
    """Row `[B, A]` of the box that each anchor is matched with, or `BACKGROUND`.

    An anchor takes the box it overlaps most if their IoU reaches `match_iou`. Besides, every box gets the
    anchor that overlaps it most, however little, so that every object is learnt; where several boxes claim
    one anchor, the first row has it (argmax matcher with forced rows of the authors' code).

    Args:
        anchors: `[A, 4]`, xyxy pixels.
        boxes: `[B, M, 4]`, xyxy pixels.
        labels: `[B, M]`, `BACKGROUND` in padded rows, whose boxes may be anything.
        match_iou: least overlap, but for the anchor that is each box's best.
    """
    num_images, num_rows = boxes.shape[:2]
    if num_rows == 0:
        return torch.full((num_images, anchors.shape[0]), BACKGROUND, device=boxes.device)
    best_iou = boxes.new_full((num_images, anchors.shape[0]), -1.0)
    best_row = labels.new_full((num_images, anchors.shape[0]), BACKGROUND, dtype=torch.int64)
    tops = []
    for first in range(0, num_rows, _ROWS_AT_ONCE):
        chunk = slice(first, first + _ROWS_AT_ONCE)
        iou = pairwise_iou(boxes[:, chunk], anchors)  # [B, up to _ROWS_AT_ONCE, A]
        iou = torch.where((labels[:, chunk] == BACKGROUND).unsqueeze(-1), -1.0, iou)
        chunk_iou, chunk_row = iou.max(dim=1)  # [B, A]
        is_better = chunk_iou > best_iou  # of equals the first row stays
        best_row = torch.where(is_better, chunk_row + first, best_row)
        best_iou = torch.maximum(chunk_iou, best_iou)
        tops.append(iou.max(dim=2))
    rows = torch.where(best_iou >= match_iou, best_row, BACKGROUND)

    top_iou, top_anchor = (torch.cat(parts, dim=1) for parts in zip(*tops, strict=True))  # [B, M]
    row_ids = torch.arange(num_rows, device=boxes.device).expand_as(top_anchor)
    claims = torch.where(
        top_iou > 0, row_ids, num_rows
    )  # a padded row, or one that no anchor touches, claims nothing
    forced = torch.full_like(rows, num_rows).scatter_reduce(1, top_anchor, claims, "amin")
    return torch.where(forced < num_rows, forced, rows)


def match_objects(anchors: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
    """What `match_anchors` returns for the same arguments, from the objects alone.

    Its time is that of the objects of all images together, where `match_anchors` takes every image for as
    full as the fullest one. How many there are is read from the labels, so that it is for the CPU.
    """
    (num_images, num_rows), num_anchors = labels.shape, len(anchors)
    matched = torch.full((num_images * num_anchors,), num_rows)  # the first of the rows that overlap it most
    forced = matched.clone()
    best = boxes.new_zeros(num_images * num_anchors)
    image, row = (labels != BACKGROUND).nonzero(as_tuple=True)  # [N]
    chunks = torch.split(torch.arange(len(image)), max(1, _PAIRS_AT_ONCE // num_anchors))
    hits = []
    for chunk in chunks:
        iou = pairwise_iou(boxes[image[chunk], row[chunk]], anchors)  # [n, A]
        top_iou, top_anchor = iou.max(dim=1)
        claimed = (image[chunk] * num_anchors + top_anchor)[top_iou > 0]
        forced.scatter_reduce_(0, claimed, row[chunk][top_iou > 0], "amin")
        which, anchor = (iou >= MATCH_IOU).nonzero(as_tuple=True)
        hits.append((image[chunk][which] * num_anchors + anchor, row[chunk][which], iou[which, anchor]))
    if hits:
        place, hit_row, overlap = (torch.cat(parts) for parts in zip(*hits, strict=True))
        best.scatter_reduce_(0, place, overlap, "amax")
        is_best = overlap == best[place]
        matched.scatter_reduce_(0, place[is_best], hit_row[is_best], "amin")
    rows = torch.where(forced < num_rows, forced, matched)
    return torch.where(rows < num_rows, rows, BACKGROUND).view(num_images, num_anchors)


def make_targets(
    anchors: Tensor,
    boxes: Tensor,
    labels: Tensor,
    *,
    match: Callable[[Tensor, Tensor, Tensor], Tensor] = match_anchors,
) -> tuple[Tensor, Tensor]:
    """Class `[B, A]`, `BACKGROUND` where there is no object, and box codes `[B, A, 4]` for each anchor.

    The codes of background anchors are zero. Arguments as for `match_anchors`, and which form of it.
    """
    rows = match(anchors, boxes, labels)
    if boxes.shape[1] == 0:
        return rows, torch.zeros(*rows.shape, 4, device=boxes.device)
    is_object = rows != BACKGROUND
    source = rows.clamp(min=0)
    classes = torch.where(is_object, labels.long().gather(1, source), BACKGROUND)
    matched = boxes.gather(1, source.unsqueeze(-1).expand(-1, -1, 4))
    # An anchor matched with itself has the code zero, which also keeps the logarithm away from padded rows.
    matched = torch.where(is_object.unsqueeze(-1), matched, anchors)
    return classes, encode_boxes(matched, anchors)
