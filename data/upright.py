"""Images as they are meant to be looked at, and boxes found in them in the pixels that the file stores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from spinesearch.data.image_files import orientation_of

Boxes = npt.NDArray[np.float32]


def upright(image: Image.Image) -> tuple[Image.Image, int]:
    """The image turned and mirrored as its EXIF orientation says, and that orientation (1: as stored)."""
    orientation = orientation_of(image)
    return (image if orientation == 1 else ImageOps.exif_transpose(image)), orientation


def stored_boxes(boxes: Boxes, orientation: int, width: int, height: int) -> Boxes:
    """Boxes `[n, 4]` of the upright image, xyxy, in the pixels of the image as stored.

    Args:
        boxes: in pixels of what `upright` gives.
        orientation: as it says.
        width: of the image as stored, pixels.
        height: of the image as stored.
    """
    x, y = boxes[:, 0::2], boxes[:, 1::2]
    match orientation:  # EXIF 2.3, tag 0x0112; the inverse of what `ImageOps.exif_transpose` does
        case 2:
            x = width - x
        case 3:
            x, y = width - x, height - y
        case 4:
            y = height - y
        case 5:
            x, y = y, x
        case 6:
            x, y = y, height - x
        case 7:
            x, y = width - y, height - x
        case 8:
            x, y = width - y, x
    low, high = np.minimum(x[:, 0], x[:, 1]), np.maximum(x[:, 0], x[:, 1])
    top, bottom = np.minimum(y[:, 0], y[:, 1]), np.maximum(y[:, 0], y[:, 1])
    return np.stack((low, top, high, bottom), axis=1).astype(np.float32)


def stored_mask(mask: npt.NDArray[np.float32], orientation: int) -> npt.NDArray[np.float32]:
    """A mask over a box `[h, w]` of the upright image, over the same box in the image as stored."""
    if orientation in (5, 6, 7, 8):
        mask = mask.T
    if orientation in (2, 3, 7, 8):
        mask = mask[:, ::-1]
    return mask[::-1] if orientation in (3, 4, 6, 7) else mask
