"""What Mask R-CNN is trained towards: which anchors, which regions, and the mask of each region.

Shapes: B images, M objects per image after padding (label -1 marks a padded row), N anchors, P proposed
regions, S sampled regions or anchors, F of these that may hold an object, R side of an object's mask.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from spinesearch.models.heads.boxes import encode_boxes, pairwise_iou
from spinesearch.models.mask_rcnn.detector import BOX_WEIGHTS
from spinesearch.models.mask_rcnn.proposals import Regions
from spinesearch.training.targets.matching import BACKGROUND, match_anchors

# The released configuration of Mask R-CNN.
ANCHOR_IOU, ANCHOR_BACKGROUND_IOU = 0.7, 0.3  # foreground from, background below
ANCHORS_PER_IMAGE, ANCHOR_FOREGROUND = 256, 0.5
REGION_IOU, REGION_FOREGROUND = 0.5, 0.25
MASK_SIDE = 28
IGNORED = -2


class AnchorTargets(NamedTuple):
    """What the proposals learn.

    Attributes:
        sampled: `[B, S]`, the anchors that count for the score.
        is_object: `[B, S]` float, 1 or 0.
        counts: `[B, S]` bool, False where an image has fewer anchors to sample.
        is_matched: `[B, N]` bool, the anchors that count for the box, sampled or not.
        codes: `[B, N, 4]`, of these.
    """

    sampled: Tensor
    is_object: Tensor
    counts: Tensor
    is_matched: Tensor
    codes: Tensor


class RegionTargets(NamedTuple):
    """What the box head and the mask head learn; regions with an object come first.

    Attributes:
        boxes: `[B, S, 4]`, xyxy pixels.
        labels: `[B, S]`, 0..K-1, `BACKGROUND`, or `IGNORED` where an image has fewer regions to sample.
        rows: `[B, S]`, the object of each.
        codes: `[B, S, 4]`, times `BOX_WEIGHTS`; of regions without an object they do not count.
        num_foreground: F, most regions of an image with an object.
    """

    boxes: Tensor
    labels: Tensor
    rows: Tensor
    codes: Tensor
    num_foreground: int


def anchor_targets(anchors: Tensor, boxes: Tensor, labels: Tensor) -> AnchorTargets:
    """Which anchors the proposals are trained on, drawn from torch's generator of the device.

    An anchor is foreground from `ANCHOR_IOU`, or as some object's best, and background below
    `ANCHOR_BACKGROUND_IOU`; half of those sampled are foreground where there are as many.

    Args:
        anchors: `[N, 4]`, xyxy pixels.
        boxes: `[B, M, 4]`.
        labels: `[B, M]`.
    """
    rows = match_anchors(anchors, boxes, labels, match_iou=ANCHOR_IOU)
    is_far = match_anchors(anchors, boxes, labels, match_iou=ANCHOR_BACKGROUND_IOU) == BACKGROUND
    is_matched = rows != BACKGROUND
    sampled, is_object, counts = _sampled(is_matched, is_far, ANCHORS_PER_IMAGE, ANCHOR_FOREGROUND)
    if boxes.shape[1] == 0:
        codes = torch.zeros(*rows.shape, 4, device=boxes.device)
    else:
        matched = boxes.gather(1, rows.clamp(min=0).unsqueeze(-1).expand(-1, -1, 4))
        codes = encode_boxes(torch.where(is_matched.unsqueeze(-1), matched, anchors), anchors)
    return AnchorTargets(sampled, is_object.float(), counts, is_matched, codes)


def region_targets(regions: Regions, boxes: Tensor, labels: Tensor, num_samples: int) -> RegionTargets:
    """Which regions the box and mask heads are trained on, drawn from torch's generator of the device.

    The objects' own boxes are among the regions. One that overlaps an object by `REGION_IOU` or more has it.

    Args:
        regions: proposed.
        boxes: `[B, M, 4]`, xyxy pixels.
        labels: `[B, M]`.
        num_samples: S, of an image, a quarter of them with an object where there are as many.
    """
    candidates = torch.cat((boxes, regions.boxes), dim=1)
    is_real = torch.cat((labels != BACKGROUND, regions.is_real), dim=1)
    if boxes.shape[1] == 0:
        best, row = candidates.new_zeros(candidates.shape[:2]), torch.zeros_like(is_real, dtype=torch.int64)
    else:
        iou = pairwise_iou(boxes, candidates)
        best, row = torch.where((labels == BACKGROUND).unsqueeze(-1), -1.0, iou).max(dim=1)
    is_object = is_real & (best >= REGION_IOU)
    index, has_object, counts = _sampled(is_object, is_real & ~is_object, num_samples, REGION_FOREGROUND)
    chosen = candidates.gather(1, index.unsqueeze(-1).expand(-1, -1, 4))
    rows = row.gather(1, index)
    classes = torch.full_like(rows, BACKGROUND)
    codes = torch.zeros_like(chosen)
    if boxes.shape[1]:
        classes = torch.where(has_object, labels.gather(1, rows), BACKGROUND)
        own = boxes.gather(1, rows.unsqueeze(-1).expand(-1, -1, 4))
        unit = chosen.new_tensor([0.0, 0.0, 1.0, 1.0])  # a box whose code exists, for all that do not count
        is_coded = has_object.unsqueeze(-1)
        codes = encode_boxes(torch.where(is_coded, own, unit), torch.where(is_coded, chosen, unit))
        codes = codes * codes.new_tensor(BOX_WEIGHTS)
    classes = torch.where(counts, classes, IGNORED)
    return RegionTargets(chosen, classes, rows, codes, int(num_samples * REGION_FOREGROUND))


def mask_targets(masks: Tensor, mask_boxes: Tensor, regions: Tensor, rows: Tensor) -> Tensor:
    """What of its object each region sees, float `[B, F, 28, 28]` of zeros and ones.

    Args:
        masks: `[B, M, R, R]`, of each object within its box, uint8 zeros and ones.
        mask_boxes: `[B, M, 4]`, where the masks lie, whole; x1 right of x2 for one that is mirrored.
        regions: `[B, F, 4]`, xyxy pixels.
        rows: `[B, F]`, the object of each.
    """
    num_images, num_regions = rows.shape
    own = mask_boxes.gather(1, rows.unsqueeze(-1).expand(-1, -1, 4))
    side = masks.shape[-1]
    flat = masks.gather(1, rows[..., None, None].expand(-1, -1, side, side)).flatten(0, 1).float()
    centers = (torch.arange(MASK_SIDE, device=regions.device, dtype=regions.dtype) + 0.5) / MASK_SIDE

    def along(first: int) -> Tensor:
        """Where the cells' centres lie in the mask, [B * F, 28], from -1 to 1 within it."""
        low, high = regions[..., first, None], regions[..., first + 2, None]
        mask_low, mask_high = own[..., first, None], own[..., first + 2, None]
        extent = mask_high - mask_low
        extent = torch.where(extent == 0, 1.0, extent)
        return (2 * (low + centers * (high - low) - mask_low) / extent - 1).flatten(0, 1)

    x, y = along(0), along(1)
    grid = torch.stack(
        (x.unsqueeze(1).expand(-1, MASK_SIDE, -1), y.unsqueeze(2).expand(-1, -1, MASK_SIDE)), dim=-1
    )
    seen = F.grid_sample(flat.unsqueeze(1), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return (seen >= 0.5).float().view(num_images, num_regions, MASK_SIDE, MASK_SIDE)


def _sampled(
    is_object: Tensor, is_background: Tensor, num_samples: int, foreground: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Random entries of each row, those with an object first: index, whether with one, whether there is one.

    Args:
        is_object: `[B, N]` bool.
        is_background: `[B, N]` bool, disjoint.
        num_samples: S; fewer come back where N is less.
        foreground: largest share of those with an object.
    """
    draws = torch.rand(is_object.shape, device=is_object.device)
    total = is_object.shape[1]
    num_objects = min(int(num_samples * foreground), total)
    top = torch.where(is_object, draws + 1, 0.0).topk(num_objects, dim=1)
    is_chosen = torch.zeros_like(is_object).scatter(1, top.indices, top.values > 0)
    keys = torch.where(is_chosen, draws + 3, torch.where(is_background, draws + 1, 0.0))
    best = keys.topk(min(num_samples, total), dim=1)
    return best.indices, best.values >= 3, best.values > 0
