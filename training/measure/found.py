"""What a detector finds in the images of a pack that are scored on.

Shapes: N images, D detections per image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from spinesearch.data.coco.outlines import encode_mask
from spinesearch.data.open import ProxyData
from spinesearch.models.heads.detect import MAX_DETECTIONS, FindsInstances, Instances, detect_objects
from spinesearch.models.heads.paste import paste_mask
from spinesearch.models.heads.predict import head_outputs
from spinesearch.training.input.augment import Batch, normalize
from spinesearch.training.input.batches import load_batches
from spinesearch.training.measure.evaluate import MaskPair


class Found(NamedTuple):
    """Detections of N images by falling score; a score of 0 marks a padded row.

    Attributes:
        boxes: `[N, D, 4]`, xyxy in original pixels.
        scores: `[N, D]`.
        labels: `[N, D]`, class indices of the model.
        masks: `[N, D]` of bytes, COCO's compressed run lengths in the original image, of a mask model; empty
            in padded rows.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    masks: npt.NDArray[np.object_] | None = None


def find_objects(
    model: nn.Module,
    data: ProxyData,
    index: npt.NDArray[np.int64],
    anchors: Tensor,
    *,
    batch_size: int,
    precision: str,
    on_batch: Callable[[int], None] = lambda num_done: None,
) -> Found:
    """Detections in these images; the model is left in evaluation mode.

    Args:
        model: a RetinaNet, whatever takes images `[B, 3, S, S]` to class logits and box codes, or a Mask
            R-CNN.
        data: holds the images, packed at S.
        index: `[N]`, positions in the pack, at least one.
        anchors: `[A, 4]`, of S, on the model's device.
        batch_size: images at once; the detections do not depend on it.
        precision: of the passes, one of `spinesearch.training.recipe.PRECISIONS`.
        on_batch: called after each batch with the number of images done.
    """
    model.eval()
    batches = np.split(index, range(batch_size, len(index), batch_size))
    found: list[Found] = []
    unmasked = replace(data, masks=None)  # true masks are of no use here
    for rows, loaded in zip(batches, load_batches(unmasked, batches, anchors.device), strict=True):
        found.append(_detections(model, data, rows, loaded, anchors, precision))
        on_batch(sum(len(part.scores) for part in found))
    return joined(found)


def mask_pair(data: ProxyData, found: Found) -> MaskPair | None:
    """The masks of what is true and of what was found; None of a model without masks."""
    if found.masks is None:
        return None
    assert data.masks is not None, "opened for a mask model"
    return MaskPair(data.masks, found.masks)


def joined(parts: Sequence[Found]) -> Found:
    """What was found in the images of all parts, one after the other."""
    masks = [part.masks for part in parts if part.masks is not None]
    return Found(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate(masks) if masks else None,
    )


def _detections(
    model: nn.Module,
    data: ProxyData,
    index: npt.NDArray[np.int64],
    loaded: Batch,
    anchors: Tensor,
    precision: str,
) -> Found:
    """Detections in the images at these positions, padded to `MAX_DETECTIONS` rows."""
    device = anchors.device
    stored = data.dataset.images.sizes[index]
    sizes = torch.from_numpy(stored.astype(np.float32)).to(device)
    scales = torch.from_numpy(data.pack.scales[index]).to(device)
    with torch.inference_mode():
        batch = normalize(loaded.to(device))
        if isinstance(model, FindsInstances):
            args = batch.images, batch.content, anchors, scales, sizes, precision
            return _encoded(model.instances(*args), stored)
        cls_logits, box_deltas = head_outputs(model, batch.images, precision)
        found = detect_objects(cls_logits, box_deltas, anchors, scales, sizes)
    missing = MAX_DETECTIONS - found.scores.shape[1]
    pad = nn.functional.pad
    return Found(
        pad(found.boxes, (0, 0, 0, missing)).cpu().numpy(),
        pad(found.scores, (0, missing)).cpu().numpy(),
        pad(found.labels, (0, missing)).cpu().numpy(),
    )


def _encoded(instances: Instances, sizes: npt.NDArray[np.int64]) -> Found:
    """Detections with their masks as run lengths in images of these sizes `[B, 2]`, width and height."""
    boxes, scores, labels = (part.cpu().numpy() for part in instances.found)
    masks = instances.masks.cpu().numpy()
    codes = np.full(scores.shape, b"", np.object_)
    for row, column in zip(*np.nonzero(scores > 0), strict=True):
        width, height = sizes[row].tolist()
        codes[row, column] = encode_mask(paste_mask(masks[row, column], boxes[row, column], width, height))
    return Found(boxes, scores, labels, codes)
