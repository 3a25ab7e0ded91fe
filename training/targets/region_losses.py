"""The five losses of Mask R-CNN, as released: proposals' scores and boxes, classes, boxes, masks.

Shapes: B images, N anchors, S sampled regions, F of these that may hold an object, K classes of objects.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from spinesearch.training.targets.matching import BACKGROUND
from spinesearch.training.targets.regions import ANCHORS_PER_IMAGE, IGNORED, AnchorTargets, RegionTargets

# Of the smooth L1 losses, in codes: where they pass from square to straight.
PROPOSAL_HUBER_DELTA = 1.0 / 9.0
BOX_HUBER_DELTA = 1.0


def proposal_loss(
    scores: Tensor, box_deltas: Tensor, targets: AnchorTargets, level_sizes: Sequence[int]
) -> Tensor:
    """Score plus box loss of the proposals, a float32 scalar.

    The scores' cross-entropies are summed and divided by `ANCHORS_PER_IMAGE` and the images, however many
    could be sampled. The boxes' losses are averaged over the matched anchors' coordinates of each level, and
    the levels' averages are summed.

    Args:
        scores: `[B, N]`, before the sigmoid.
        box_deltas: `[B, N, 4]`.
        targets: of these anchors.
        level_sizes: anchors of each level, which are N together.
    """
    sampled = scores.float().gather(1, targets.sampled)
    costs = F.binary_cross_entropy_with_logits(sampled, targets.is_object, reduction="none")
    score_loss = (costs * targets.counts).sum() / (ANCHORS_PER_IMAGE * len(scores))
    errors = F.huber_loss(box_deltas.float(), targets.codes, reduction="none", delta=PROPOSAL_HUBER_DELTA)
    sizes = list(level_sizes)
    sums = torch.split(errors.sum(dim=-1) * targets.is_matched, sizes, dim=1)
    counts = torch.split(targets.is_matched, sizes, dim=1)
    box_loss = torch.stack([_mean(a.sum(), 4 * b.sum()) for a, b in zip(sums, counts, strict=True)]).sum()
    return score_loss + box_loss


def region_loss(cls_logits: Tensor, box_deltas: Tensor, targets: RegionTargets) -> Tensor:
    """Class plus box loss of the sampled regions, a float32 scalar.

    The softmax cross-entropy is averaged over the regions; the box loss, that of the true class's code, over
    the coordinates of the regions with an object.

    Args:
        cls_logits: `[B, S, K + 1]`, the background's first.
        box_deltas: `[B, S, K + 1, 4]`.
        targets: of these regions.
    """
    classes = targets.labels + 1  # BACKGROUND becomes 0
    counts = targets.labels != IGNORED
    costs = F.cross_entropy(
        cls_logits.float().flatten(0, 1), classes.clamp(min=0).flatten(), reduction="none"
    )
    class_loss = _mean((costs * counts.flatten()).sum(), counts.sum())
    has_object = targets.labels > BACKGROUND
    index = classes.clamp(min=0)[..., None, None].expand(-1, -1, 1, 4)
    own = box_deltas.float().gather(2, index).squeeze(2)
    errors = F.huber_loss(own, targets.codes, reduction="none", delta=BOX_HUBER_DELTA).sum(dim=-1)
    return class_loss + _mean((errors * has_object).sum(), 4 * has_object.sum())


def mask_loss(mask_logits: Tensor, seen: Tensor, has_object: Tensor) -> Tensor:
    """Cross-entropy of the true classes' masks, averaged over the pixels of regions with an object.

    Args:
        mask_logits: `[B, F, 28, 28]`, each of its region's class.
        seen: `[B, F, 28, 28]`, of `mask_targets`.
        has_object: `[B, F]`.
    """
    costs = F.binary_cross_entropy_with_logits(mask_logits.float(), seen, reduction="none").mean(dim=(2, 3))
    return _mean((costs * has_object).sum(), has_object.sum())


def _mean(total: Tensor, count: Tensor) -> Tensor:
    """The total over the count, and 0 over nothing."""
    return total / count.clamp(min=1)
