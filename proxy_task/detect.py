"""From the head's output to detections: threshold, decode, non-maximum suppression; whole batches at a time.

Shapes: B images, A anchors, K classes, N candidate (anchor, class) pairs per image, D detections per image.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from spinesearch.proxy_task.boxes import clip_boxes, decode_boxes, pairwise_iou

# The RetinaNet configuration that the authors of SpineNet released.
SCORE_THRESHOLD = 0.05
MAX_CANDIDATES = 5000  # (anchor, class) pairs per image that enter suppression
NMS_IOU = 0.5
MAX_DETECTIONS = 100  # per image; what COCO's AP looks at


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


def detect_objects(
    cls_logits: Tensor, box_deltas: Tensor, anchors: Tensor, scales: Tensor, sizes: Tensor
) -> Detections:
    """Detections of a batch.

    Args:
        cls_logits: `[B, A, K]`.
        box_deltas: `[B, A, 4]`, codes (ty, tx, th, tw).
        anchors: `[A, 4]`, xyxy pixels of the network's input.
        scales: `[B]`, pixels of the network's input per original pixel.
        sizes: `[B, 2]`, (width, height) in original pixels.
    """
    num_classes = cls_logits.shape[-1]
    scores = cls_logits.float().sigmoid().flatten(1)  # [B, A * K]
    scores = torch.where(scores > SCORE_THRESHOLD, scores, 0.0)
    num_candidates = min(MAX_CANDIDATES, int((scores > 0).sum(dim=1).max()))
    scores, pairs = scores.topk(num_candidates, dim=1)  # [B, N], falling
    labels, anchor_ids = pairs % num_classes, pairs // num_classes
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
    `max_detections`.

    Args:
        boxes: `[B, N, 4]`, xyxy.
        scores: `[B, N]`; 0 or less is no candidate. Of equal scores the first row wins.
        labels: `[B, N]`.
        iou_threshold: largest overlap that two detections of one class may have.
        max_detections: picks per image, over all classes.
    """
    remaining = scores.clamp(min=0)  # a copy
    picks = []
    for _ in range(max_detections if scores.shape[1] else 0):
        best, row = remaining.max(dim=1, keepdim=True)  # [B, 1]
        is_pick = best > 0
        if not is_pick.any():
            break
        picks.append(torch.where(is_pick, row, -1))
        box = boxes.gather(1, row.unsqueeze(-1).expand(-1, -1, 4))  # [B, 1, 4]
        iou = pairwise_iou(box, boxes).squeeze(1)  # [B, N]
        is_same_class = labels == labels.gather(1, row)
        remaining.masked_fill_(is_same_class & (iou > iou_threshold), 0.0)
        remaining.scatter_(1, row, 0.0)  # a box without area does not overlap itself
    if not picks:
        return torch.empty(scores.shape[0], 0, dtype=torch.long, device=scores.device)
    return torch.cat(picks, dim=1)
