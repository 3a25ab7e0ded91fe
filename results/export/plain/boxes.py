"""Anchors, and from what a network says of them to detections.

Shapes: B images, N anchors of all levels (by level, row, column, anchor), K classes, D detections.
Boxes are xyxy in pixels of the network's input.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = (3, 4, 5, 6, 7)
ASPECT_RATIOS = (1.0, 2.0, 0.5)  # width over height
SCORE_THRESHOLD = 0.05
MAX_CANDIDATES = 5000  # anchors of a class that enter suppression
NMS_IOU = 0.5
MAX_DETECTIONS = 100
MAX_LOG_SCALE = math.log(1000.0 / 16.0)


class OfAnchors(nn.Module):
    """A backbone and a head that predicts from anchors.

    Args:
        backbone: gives the features of levels 3 to 7.
        head: predicts from them.
        base_anchor: side of the smallest anchor at a level, in strides of the level.
    """

    def __init__(self, backbone: nn.Module, head: Any, *, base_anchor: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.base_anchor = base_anchor

    @torch.no_grad()
    def detect(self, images: Tensor) -> Any:
        """What `find` returns of images [B, 3, H, W]."""
        return self.find(images, self.anchors(images), image_corner(images), suppress)

    def find(self, images: Tensor, anchors: Tensor, corner: Tensor, suppressed: Callable[..., Tensor]) -> Any:
        """Detections, with what is known of the images' size, and with a suppression like `suppress`."""
        raise NotImplementedError

    def anchors(self, images: Tensor) -> Tensor:
        """Anchors [N, 4] of images of this size, on their device."""
        height, width = images.shape[-2:]
        num_scales, rest = divmod(self.head.num_anchors, len(ASPECT_RATIOS))
        if rest:
            raise ValueError(
                f"num_anchors: {self.head.num_anchors} anchors per pixel are no whole number of scales of "
                f"{len(ASPECT_RATIOS)} ratios, so that their boxes are not known"
            )
        return make_anchors(height, width, num_scales, self.base_anchor).to(images.device)


def make_anchors(height: int, width: int, num_scales: int, base_anchor: float) -> Tensor:
    """Anchors [N, 4] of all levels for images of this size; those at the border reach beyond it."""
    levels = []
    for level in LEVELS:
        stride = 2**level
        ys = (torch.arange(-(-height // stride), dtype=torch.float64) + 0.5) * stride
        xs = (torch.arange(-(-width // stride), dtype=torch.float64) + 0.5) * stride
        sides = base_anchor * stride * 2 ** (torch.arange(num_scales, dtype=torch.float64) / num_scales)
        roots = torch.tensor(ASPECT_RATIOS, dtype=torch.float64).sqrt()
        half = (
            torch.stack(((sides[:, None] * roots).flatten(), (sides[:, None] / roots).flatten()), dim=-1) / 2
        )
        y, x = torch.meshgrid(ys, xs, indexing="ij")
        center = torch.stack((x, y), dim=-1)[:, :, None]
        levels.append(torch.cat((center - half, center + half), dim=-1).reshape(-1, 4))
    return torch.cat(levels).float()


def image_corner(images: Tensor) -> Tensor:
    """Largest coordinates [4] of boxes in images of this size: width, height, width, height."""
    height, width = images.shape[-2:]
    return torch.tensor([width, height, width, height], dtype=torch.float32, device=images.device)


def decode(logits: Tensor, deltas: Tensor, anchors: Tensor, corner: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes [B, N, 4] and scores [B, K, N] of class logits [B, N, K]; the others as for `decode_boxes`."""
    return decode_boxes(deltas, anchors, corner), logits.sigmoid().transpose(1, 2)


def decode_boxes(deltas: Tensor, anchors: Tensor, corner: Tensor) -> Tensor:
    """Boxes [B, N, 4], clipped to the images.

    Args:
        deltas: [B, N, 4], codes (ty, tx, th, tw) of Faster R-CNN without further factors.
        anchors: [N, 4], or of each image [B, N, 4].
        corner: [4], as `image_corner` has it.
    """
    x1, y1, x2, y2 = anchors.unbind(-1)
    ty, tx, th, tw = deltas.unbind(-1)
    height, width = y2 - y1, x2 - x1
    cy, cx = ty * height + (y1 + y2) / 2, tx * width + (x1 + x2) / 2
    half_h = th.clamp(max=MAX_LOG_SCALE).exp() * height / 2
    half_w = tw.clamp(max=MAX_LOG_SCALE).exp() * width / 2
    boxes = torch.stack((cx - half_w, cy - half_h, cx + half_w, cy + half_h), dim=-1)
    return torch.minimum(boxes.clamp(min=0.0), corner)


def suppress(boxes: Tensor, scores: Tensor, threshold: float, max_iou: float, limit: int) -> Tensor:
    """Scores [B, K, N] of which non-maximum suppression within each class leaves the best; others are 0.

    Args:
        boxes: [B, N, 4].
        scores: [B, K, N].
        threshold: that scores are above.
        max_iou: largest overlap of two boxes of a class.
        limit: boxes of a class that are left.
    """
    kept = torch.zeros_like(scores)
    for image, label in (scores > threshold).any(dim=2).nonzero().tolist():
        row = scores[image, label]
        ids = (row > threshold).nonzero()[:, 0]
        ids = ids[row[ids].sort(descending=True, stable=True).indices[:MAX_CANDIDATES]]
        num_kept = 0
        while len(ids) and num_kept < limit:
            kept[image, label, ids[0]] = row[ids[0]]
            num_kept += 1
            ids = ids[1:][_iou(boxes[image, ids[0]], boxes[image, ids[1:]]) <= max_iou]
    return kept


def best_detections(boxes: Tensor, scores: Tensor) -> Tensor:
    """Detections [B, D, 6] of the best scores; boxes [B, N, 4], scores [B, K, N], 0 for no detection."""
    flat = scores.flatten(1)
    count = min(MAX_DETECTIONS, flat.shape[1])
    best, places = flat.topk(count, dim=1)
    labels = places // scores.shape[2]
    rows = (places % scores.shape[2]).unsqueeze(-1).expand(-1, -1, 4)
    found = torch.cat(
        (boxes.gather(1, rows), best.unsqueeze(-1), labels.unsqueeze(-1).to(boxes.dtype)), dim=-1
    )
    found = torch.where((best > 0.0).unsqueeze(-1), found, torch.zeros_like(found))
    return F.pad(found, (0, 0, 0, MAX_DETECTIONS - count)) if count < MAX_DETECTIONS else found


def _iou(box: Tensor, others: Tensor) -> Tensor:
    """Intersection over union [M] of a box [4] with others [M, 4]."""
    low, high = torch.maximum(box[:2], others[:, :2]), torch.minimum(box[2:], others[:, 2:])
    intersection = (high - low).clamp(min=0.0).prod(dim=1)
    areas = (others[:, 2:] - others[:, :2]).prod(dim=1)
    union = (box[2:] - box[:2]).prod() + areas - intersection
    return intersection / union.clamp(min=torch.finfo(union.dtype).tiny)


def by_anchor(prediction: Tensor, size: int) -> Tensor:
    """[B, A * size, H, W] to [B, H * W * A, size]."""
    batch, channels, height, width = prediction.shape
    split = prediction.reshape(batch, channels // size, size, height, width)
    return split.permute(0, 3, 4, 1, 2).reshape(batch, height * width * (channels // size), size)
