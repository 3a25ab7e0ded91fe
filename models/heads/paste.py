"""The pixels of an image that a mask over a box covers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MASK_THRESHOLD = 0.5  # the released code's


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
