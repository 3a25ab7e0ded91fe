"""From the head's output to detections: threshold, decode, non-maximum suppression; whole batches at a time.

Shapes: B images, A anchors, K classes, N candidate (anchor, class) pairs per image, D detections per image.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from spinesearch.models.heads.boxes import box_area, clip_boxes, decode_boxes

# The RetinaNet configuration that the authors of SpineNet released.
SCORE_THRESHOLD = 0.05
MAX_CANDIDATES = 5000  # anchors per image and class that enter suppression
NMS_IOU = 0.5
MAX_DETECTIONS = 100  # per image; what COCO's AP looks at

_WIDENING = 4  # own: how many times more candidates are looked at where the best gave too few detections
_NONE = -(2**63)
_TURNS_A_LOOK = 8


class Detections(NamedTuple):
    """Detections of B images by falling score; a score of 0 marks a padded row.

    Attributes:
        boxes: `[B, D, 4]`, xyxy in pixels of the original image, clipped to it.
        scores: `[B, D]`, in (`SCORE_THRESHOLD`, 1], or 0.
        labels: `[B, D]`, class indices in 0..K-1.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class Instances(NamedTuple):
    """Detections of B images with their masks.

    Attributes:
        found: boxes, scores and labels, padded to `MAX_DETECTIONS` rows.
        masks: `[B, d, side, side]`, in (0, 1), each over its box; d is the most of an image.
    """

    found: Detections
    masks: Tensor


@runtime_checkable
class FindsInstances(Protocol):
    """A detector that finds objects and their masks by itself, as Mask R-CNN does."""

    def instances(
        self,
        images: Tensor,
        content: Tensor,
        anchors: Tensor,
        scales: Tensor,
        sizes: Tensor,
        precision: str,
    ) -> Instances:
        """Detections of normalised images.

        Args:
            images: `[B, 3, S, S]`.
            content: `[B, 2]`, (width, height) of what is image in the square.
            anchors: `[A, 4]`, xyxy pixels of the square.
            scales: `[B]`, pixels of the square per original pixel.
            sizes: `[B, 2]`, (width, height) in original pixels.
            precision: of the passes, float32 or bfloat16.
        """


class Candidates(NamedTuple):
    """The best (anchor, class) pairs of B images by falling score; a score of 0 marks a padded row.

    Attributes:
        scores: `[B, N]`.
        labels: `[B, N]`.
        anchor_ids: `[B, N]`.
    """

    scores: Tensor
    labels: Tensor
    anchor_ids: Tensor


def detect_objects(
    cls_logits: Tensor, box_deltas: Tensor, anchors: Tensor, scales: Tensor, sizes: Tensor
) -> Detections:
    """Detections of a batch: those that the authors' code finds class by class.

    It takes the `MAX_CANDIDATES` best anchors of each class, suppresses among them, and gives the best
    `MAX_DETECTIONS` of all classes. As suppression goes by falling score, these depend on nothing that scores
    less than the last of them, so here the best pairs of all classes together come first, and more of them
    only where they leave too few detections.

    Of equal logits the lower class comes first, then the lower anchor, whatever the batch.

    Args:
        cls_logits: `[B, A, K]`.
        box_deltas: `[B, A, 4]`, codes (ty, tx, th, tw).
        anchors: `[A, 4]`, xyxy pixels of the network's input.
        scales: `[B]`, pixels of the network's input per original pixel.
        sizes: `[B, 2]`, (width, height) in original pixels.
    """
    keys = _rank_keys(cls_logits)
    counts = (keys != _NONE).sum(dim=1)  # [B]
    most = int(counts.max())
    num_candidates = MAX_CANDIDATES
    while True:
        candidates = _best(keys, cls_logits, min(num_candidates, most))
        found = _suppressed(candidates, box_deltas, anchors, scales, sizes)
        is_short = (found.scores > 0).sum(dim=1) < MAX_DETECTIONS
        if most <= num_candidates or not (is_short & (counts > num_candidates)).any():
            return found
        num_candidates *= _WIDENING


def _rank_keys(cls_logits: Tensor) -> Tensor:
    """Integers `[B, A * K]` that order the pairs of an image, all different; `_NONE` for no candidate.

    The upper half is the logit: floats are ordered like their bits, negative ones the other way round. The
    lower half breaks ties, of which bfloat16 makes many. Scores would not do: torch's sigmoid rounds the last
    few values of a tensor differently, so that equal logits become unequal scores, and another batch other
    detections.
    """
    num_anchors, num_classes = cls_logits.shape[1:]
    logits = cls_logits.float()
    anchor_ids = torch.arange(num_anchors, device=logits.device)[:, None]
    places = torch.arange(num_classes, device=logits.device) * num_anchors + anchor_ids  # [A, K]
    bits = logits.view(torch.int32)
    keys = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long().bitwise_left_shift_(32)
    keys |= num_anchors * num_classes - 1 - places
    return keys.masked_fill_(~(logits.sigmoid() > SCORE_THRESHOLD), _NONE).flatten(1)


def _best(keys: Tensor, cls_logits: Tensor, num_candidates: int) -> Candidates:
    """This many pairs per image, of no class more than `MAX_CANDIDATES`."""
    num_anchors, num_classes = cls_logits.shape[1:]
    best = keys.topk(num_candidates, dim=1).values  # [B, N]
    places = keys.shape[1] - 1 - (best & 0xFFFFFFFF)
    labels, anchor_ids = places // num_anchors, places % num_anchors
    scores = cls_logits.flatten(1).gather(1, anchor_ids * num_classes + labels).float().sigmoid()
    is_candidate = best != _NONE
    if num_candidates > MAX_CANDIDATES:
        is_candidate &= _rank_in_class(labels) < MAX_CANDIDATES
    return Candidates(torch.where(is_candidate, scores, 0.0), labels, anchor_ids)


def _rank_in_class(labels: Tensor) -> Tensor:
    """How many earlier entries of its row `[B, N]` have the label of an entry."""
    grouped, order = labels.sort(dim=1, stable=True)
    position = torch.arange(labels.shape[1], device=labels.device).expand_as(labels)
    is_first = torch.ones_like(grouped, dtype=torch.bool)
    is_first[:, 1:] = grouped[:, 1:] != grouped[:, :-1]
    start = torch.where(is_first, position, 0).cummax(dim=1).values
    return torch.empty_like(position).scatter_(1, order, position - start)


def _suppressed(
    candidates: Candidates, box_deltas: Tensor, anchors: Tensor, scales: Tensor, sizes: Tensor
) -> Detections:
    """What suppression leaves of the candidates; the other arguments are those of `detect_objects`."""
    scores, labels, anchor_ids = candidates
    deltas = box_deltas.float().gather(1, anchor_ids.unsqueeze(-1).expand(-1, -1, 4))
    boxes = decode_boxes(deltas, anchors[anchor_ids]) / scales[:, None, None]
    boxes = clip_boxes(boxes, sizes)
    kept = non_maximum_suppression(boxes, scores, labels)  # [B, D]
    rows = kept.clamp(min=0)
    return Detections(
        boxes=boxes.gather(1, rows.unsqueeze(-1).expand(-1, -1, 4)),
        scores=torch.where(kept >= 0, scores.gather(1, rows), 0.0),
        labels=labels.gather(1, rows),
    )


def non_maximum_suppression(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    *,
    iou_threshold: float = NMS_IOU,
    max_detections: int = MAX_DETECTIONS,
) -> Tensor:
    """Rows `[B, D]` that greedy suppression within each class keeps, by falling score; -1 past the last.

    Always picks the best remaining candidate and drops those of its class that overlap it by more than the
    threshold. Each turn does so for every image at once, so the number of turns is D, at most
    `max_detections`. Classes are distinguished by their labels, not by moving each to a separate place: far
    from the origin float32 coordinates are too coarse for that. On a GPU the last columns may be all -1.

    Args:
        boxes: `[B, N, 4]`, xyxy.
        scores: `[B, N]`; 0 or less is no candidate. Of equal scores the first row wins.
        labels: `[B, N]`.
        iou_threshold: largest overlap that two detections of one class may have.
        max_detections: picks per image, over all classes.
    """
    remaining = scores.clamp(min=0)  # a copy
    # Columns that lie together in memory: taking them out of `boxes` every turn was two fifths of the time.
    columns = torch.cat((boxes, box_area(boxes).unsqueeze(-1)), dim=-1).transpose(1, 2).contiguous()
    picks = []
    # Checking whether anything is left makes the processor wait for a GPU.
    look_every = _TURNS_A_LOOK if scores.is_cuda else 1
    for turn in range(max_detections if scores.shape[1] else 0):
        best, row = remaining.max(dim=1, keepdim=True)  # [B, 1]
        is_pick = best > 0
        if turn % look_every == 0 and not is_pick.any():
            break
        picks.append(torch.where(is_pick, row, -1))
        pick = columns.gather(2, row.unsqueeze(1).expand(-1, 5, -1))  # [B, 5, 1]
        is_same_class = labels == labels.gather(1, row)
        remaining.masked_fill_(is_same_class & (_iou(columns, pick) > iou_threshold), 0.0)
        remaining.scatter_(1, row, 0.0)  # a box without area does not overlap itself
    if not picks:
        return torch.empty(scores.shape[0], 0, dtype=torch.long, device=scores.device)
    return torch.cat(picks, dim=1)


def _iou(columns: Tensor, pick: Tensor) -> Tensor:
    """IoU `[B, N]` of boxes `[B, 5, N]`, rows x1, y1, x2, y2 and area, with one box `[B, 5, 1]` per image."""
    x1, y1, x2, y2, area = columns.unbind(1)
    px1, py1, px2, py2, pick_area = pick.unbind(1)
    width = torch.minimum(x2, px2).sub_(torch.maximum(x1, px1)).clamp_(min=0)
    height = torch.minimum(y2, py2).sub_(torch.maximum(y1, py1)).clamp_(min=0)
    intersection = width.mul_(height)
    union = (area + pick_area).sub_(intersection)
    return intersection.div_(union.clamp_(min=torch.finfo(union.dtype).tiny))
