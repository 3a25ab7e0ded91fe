"""The loss of a Mask R-CNN on a batch: proposals, sampled regions, masks of those with an object."""

from __future__ import annotations

import torch
from torch import Tensor

from spinesearch.models.mask_rcnn.detector import MaskRCNN
from spinesearch.models.mask_rcnn.proposals import propose_regions
from spinesearch.training.input.augment import Batch
from spinesearch.training.process.stopwatch import Lap, no_lap
from spinesearch.training.recipe import Recipe
from spinesearch.training.targets.matching import BACKGROUND
from spinesearch.training.targets.region_losses import mask_loss, proposal_loss, region_loss
from spinesearch.training.targets.regions import anchor_targets, mask_targets, region_targets


def mask_rcnn_loss(
    model: MaskRCNN, batch: Batch, anchors: Tensor, recipe: Recipe, lap: Lap = no_lap
) -> Tensor:
    """Sum of the five losses of a normalised batch, a float32 scalar.

    Which anchors and regions count is drawn from torch's global generator of the device.

    Args:
        model: in training mode, or with the statistics that are wanted.
        batch: with masks.
        anchors: `[N, 4]`, xyxy pixels, on the model's device.
        recipe: its precision and regions per image.
        lap: called after the targets, the network and the loss.
    """
    assert batch.masks is not None, "loaded for a mask model"
    assert batch.mask_boxes is not None
    of_anchors = anchor_targets(anchors, batch.boxes, batch.labels)
    lap("targets")
    images = batch.images.contiguous(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        proposed = model(images)
        regions = propose_regions(proposed, anchors, batch.content, is_training=True)
        targets = region_targets(regions, batch.boxes, batch.labels, recipe.rois_per_image)
        cls_logits, box_deltas = model.classify(proposed.features, targets.boxes)
        first = slice(targets.num_foreground)  # those with an object come first
        boxes, labels, rows = targets.boxes[:, first], targets.labels[:, first], targets.rows[:, first]
        mask_logits = model.outline(proposed.features, boxes, labels.clamp(min=0))
    lap("forward")
    cells = [feature.shape[-2] * feature.shape[-1] for feature in proposed.features.values()]
    per_cell = anchors.shape[0] // sum(cells)
    loss = proposal_loss(
        proposed.scores, proposed.box_deltas, of_anchors, [per_cell * count for count in cells]
    )
    loss = loss + region_loss(cls_logits, box_deltas, targets)
    if batch.boxes.shape[1]:
        seen = mask_targets(batch.masks, batch.mask_boxes, boxes, rows)
        loss = loss + mask_loss(mask_logits, seen, labels > BACKGROUND)
    else:  # nothing to learn, but the norms of the mask head exchange sums with other processes in backward
        loss = loss + 0 * mask_logits.float().sum()
    lap("loss")
    return loss
