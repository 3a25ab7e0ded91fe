"""From what the network says of anchors to the regions that it looks at again.

Shapes: B images, N anchors, P regions per image.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from spinesearch.models.heads.boxes import box_area, clip_boxes, decode_boxes
from spinesearch.models.heads.detect import non_maximum_suppression
from spinesearch.space.cost.mask_rcnn import NUM_REGIONS

# The released configuration: anchors of each level that enter suppression, and how much they may overlap.
TRAINING_CANDIDATES, TESTING_CANDIDATES = 2000, 1000
PROPOSAL_NMS_IOU = 0.7


class Proposed(NamedTuple):
    """What the network says of anchors, and the features that regions are cropped from.

    Attributes:
        scores: `[B, N]`, objectness before the sigmoid; anchors by level, row, column, anchor.
        box_deltas: `[B, N, 4]`, codes (ty, tx, th, tw).
        features: per level `[B, C, H, W]`.
    """

    scores: Tensor
    box_deltas: Tensor
    features: dict[int, Tensor]


class Regions(NamedTuple):
    """Regions of B images, the likeliest first.

    Attributes:
        boxes: `[B, P, 4]`, xyxy pixels within the image, zeros in padded rows.
        is_real: `[B, P]`, False in padded rows.
    """

    boxes: Tensor
    is_real: Tensor


@torch.no_grad()
def propose_regions(proposed: Proposed, anchors: Tensor, content: Tensor, *, is_training: bool) -> Regions:
    """The regions of each image that are likeliest to hold an object, at most `NUM_REGIONS`.

    Each level's best anchors are decoded and suppressed apart from the other levels', as in the released
    code; the best of all that remain are the regions. No gradient passes.

    Args:
        proposed: of `MaskRCNN.forward`.
        anchors: `[N, 4]`, xyxy pixels.
        content: `[B, 2]`, (width, height) of what is image in the square, which regions are clipped to.
        is_training: whether 2,000 anchors of a level are looked at, or 1,000.
    """
    num_candidates = TRAINING_CANDIDATES if is_training else TESTING_CANDIDATES
    scores = proposed.scores.float().sigmoid()
    cells = [feature.shape[-2] * feature.shape[-1] for feature in proposed.features.values()]
    per_cell = scores.shape[1] // sum(cells)
    best, index, level = [], [], []
    start = 0
    for number, part in enumerate(torch.split(scores, [per_cell * count for count in cells], dim=1)):
        top = part.topk(min(num_candidates, part.shape[1]), dim=1)
        best.append(top.values)
        index.append(top.indices + start)
        level.append(torch.full_like(top.indices, number))
        start += part.shape[1]
    score, rows = torch.cat(best, dim=1), torch.cat(index, dim=1)
    codes = proposed.box_deltas.float().gather(1, rows.unsqueeze(-1).expand(-1, -1, 4))
    boxes = clip_boxes(decode_boxes(codes, anchors[rows]), content)
    score = torch.where(box_area(boxes) > 0, score, 0.0)
    kept = non_maximum_suppression(
        boxes,
        score,
        torch.cat(level, dim=1),
        iou_threshold=PROPOSAL_NMS_IOU,
        max_detections=NUM_REGIONS,
    )
    is_real = kept >= 0
    chosen = boxes.gather(1, kept.clamp(min=0).unsqueeze(-1).expand(-1, -1, 4))
    return Regions(torch.where(is_real.unsqueeze(-1), chosen, 0.0), is_real)
