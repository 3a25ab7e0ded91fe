"""The masks of the objects of a batch, each within its box.

Shapes: B images, M boxes per image after padding, R side of a mask.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spinesearch.data.coco.outlines import decode_mask
from spinesearch.data.open import ProxyData

MASK_CROP_SIDE = 112  # cells of an object's mask along its box, as released (mask_crop_size)


def object_masks(data: ProxyData, index: npt.NDArray[np.int64], num_boxes: int) -> npt.NDArray[np.uint8]:
    """Masks `[B, M, R, R]` of zeros and ones of the objects that are trained on, in the order of their boxes.

    A cell has the value of the pixel that its centre lies in.

    Args:
        data: opened with masks.
        index: `[B]`, positions in the pack.
        num_boxes: M.
    """
    assert data.masks is not None, "opened for a mask model"
    out = np.zeros((len(index), num_boxes, MASK_CROP_SIDE, MASK_CROP_SIDE), np.uint8)
    centers = (np.arange(MASK_CROP_SIDE) + 0.5) / MASK_CROP_SIDE
    dataset = data.dataset
    for image, position in enumerate(index.tolist()):
        width, height = dataset.images.sizes[position].tolist()
        first = int(dataset.labels.offsets[position])
        # Boxes of the targets leave crowds out, and keep the order of the others.
        objects = np.flatnonzero(~dataset.is_crowd[position])
        for row, number in enumerate(objects.tolist()):
            x1, y1, x2, y2 = dataset.boxes_xyxy[position][number].tolist()
            mask = decode_mask(data.masks[first + number].tobytes(), width, height)
            ys = np.clip(y1 + centers * (y2 - y1), 0, height - 1).astype(np.int64)
            xs = np.clip(x1 + centers * (x2 - x1), 0, width - 1).astype(np.int64)
            out[image, row] = mask[ys[:, None], xs]
    return out
