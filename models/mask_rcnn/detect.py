"""From a Mask R-CNN's outputs to detections and their masks, whole batches at a time.

Shapes: B images, P regions per image, K classes, D detections per image.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from spinesearch.models.heads.boxes import clip_boxes, decode_boxes
from spinesearch.models.heads.detect import (
    MAX_DETECTIONS,
    SCORE_THRESHOLD,
    Detections,
    non_maximum_suppression,
)
from spinesearch.models.mask_rcnn.detector import MaskRCNN
from spinesearch.models.mask_rcnn.proposals import propose_regions

# The released configuration: what the box head's codes are multiplied by, and pairs that enter suppression.
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
MAX_CANDIDATES = 1000
MASK_THRESHOLD = 0.5


class Instances(NamedTuple):
    """What was found in B images.

    Attributes:
        found: boxes, scores and labels, padded to `MAX_DETECTIONS` rows.
        masks: `[B, D, 28, 28]`, in (0, 1), each over its box.
    """

    found: Detections
    masks: Tensor


def detect_instances(
    model: MaskRCNN,
    images: Tensor,
    content: Tensor,
    anchors: Tensor,
    scales: Tensor,
    sizes: Tensor,
    precision: str,
) -> Instances:
    """Detections of a batch with their masks.

    Regions are classified, the best `MAX_CANDIDATES` pairs of region and class decoded and suppressed within
    each class, and the masks of what remains computed from the boxes that were found.

    Args:
        model: in evaluation mode.
        images: `[B, 3, S, S]`, normalised.
        content: `[B, 2]`, (width, height) of what is image in the square.
        anchors: `[N, 4]`, xyxy pixels of the square.
        scales: `[B]`, pixels of the square per original pixel.
        sizes: `[B, 2]`, (width, height) in original pixels.
        precision: of the passes, float32 or bfloat16.
    """
    with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        proposed = model(images.contiguous(memory_format=torch.channels_last))
        regions = propose_regions(proposed, anchors, content, is_training=False)
        logits, codes = model.classify(proposed.features, regions.boxes)
    num_classes = logits.shape[-1] - 1
    scores = logits.float().softmax(dim=-1)[..., 1:]  # [B, P, K]
    is_candidate = regions.is_real.unsqueeze(-1) & (scores > SCORE_THRESHOLD)
    flat = torch.where(is_candidate, scores, 0.0).flatten(1)
    top = flat.topk(min(MAX_CANDIDATES, flat.shape[1]), dim=1)
    rows, labels = top.indices // num_classes, top.indices % num_classes
    deltas = codes[:, :, 1:].float().flatten(1, 2).gather(1, _wide(top.indices))
    deltas = deltas / deltas.new_tensor(BOX_WEIGHTS)
    boxes = clip_boxes(decode_boxes(deltas, regions.boxes.gather(1, _wide(rows))), content)
    kept = non_maximum_suppression(boxes, top.values, labels)
    kept = F.pad(kept, (0, MAX_DETECTIONS - kept.shape[1]), value=-1)
    is_found, rows = kept >= 0, kept.clamp(min=0)
    boxes = torch.where(is_found.unsqueeze(-1), boxes.gather(1, _wide(rows)), 0.0)
    labels = torch.where(is_found, labels.gather(1, rows), 0)
    num_found = int(is_found.sum(dim=1).max())  # the masks of padded rows are none
    with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        masks = model.outline(proposed.features, boxes[:, :num_found], labels[:, :num_found])
    found = Detections(
        boxes=clip_boxes(boxes / scales[:, None, None], sizes),
        scores=torch.where(is_found, top.values.gather(1, rows), 0.0),
        labels=labels,
    )
    return Instances(found, masks.float().sigmoid())


def paste_mask(
    mask: npt.NDArray[np.float32], box: npt.NDArray[np.float32], width: int, height: int
) -> npt.NDArray[np.bool_]:
    """The pixels `[H, W]` of an image that a mask over a box covers: at their centres it reaches one half.

    Args:
        mask: `[28, 28]`, in (0, 1); between its cells' centres it is interpolated, beyond them constant.
        box: `[4]`, xyxy in pixels of the image, within it.
        width: of the image.
        height: of the image.
    """
    out = np.zeros((height, width), np.bool_)
    x1, y1, x2, y2 = box.tolist()
    left, top = max(0, int(np.floor(x1))), max(0, int(np.floor(y1)))
    right, bottom = min(width, int(np.ceil(x2))), min(height, int(np.ceil(y2)))
    if right <= left or bottom <= top or x2 <= x1 or y2 <= y1:
        return out
    side = mask.shape[0]
    rows = _weights((np.arange(top, bottom) + 0.5 - y1) / (y2 - y1), side)
    columns = _weights((np.arange(left, right) + 0.5 - x1) / (x2 - x1), side)
    out[top:bottom, left:right] = rows @ mask @ columns.T >= MASK_THRESHOLD
    return out


def _weights(places: npt.NDArray[np.float64], side: int) -> npt.NDArray[np.float64]:
    """How much each of `side` cells counts at places within 0..1: `[n, side]`."""
    at = np.clip(places * side - 0.5, 0, side - 1)
    weights: npt.NDArray[np.float64] = np.maximum(0.0, 1 - np.abs(at[:, None] - np.arange(side)))
    return weights


def _wide(index: Tensor) -> Tensor:
    """An index `[B, n]` for boxes `[B, m, 4]`."""
    return index.unsqueeze(-1).expand(-1, -1, 4)
