"""A grey thumbnail of every packed image, by which copies of one picture are found (`data/split/similar.py`).

N images, S side of a packed image.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from spinesearch.data.pack.array_folder import add_array, added_array
from spinesearch.data.pack.storage import PackedImages
from spinesearch.data.parallel import in_order, num_processors

THUMBNAIL_SIDE = 16  # pixels: 256 bytes an image, 30 MB for COCO
THUMBNAILS = "thumbnails"  # the array's name in a pack
_REPORT_EVERY = 64  # images


def thumbnail(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The image in grey, stretched to a square: uint8 `[THUMBNAIL_SIDE, THUMBNAIL_SIDE]`."""
    size = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return np.asarray(image.convert("L").resize(size, Image.Resampling.BOX))


def packed_thumbnails(
    folder: Path,
    images: PackedImages,
    sizes: npt.NDArray[np.int64],
    progress: Callable[[int, int], None],
) -> npt.NDArray[np.uint8]:
    """Thumbnails of all images of a pack, uint8 `[N, THUMBNAIL_SIDE, THUMBNAIL_SIDE]`.

    Packs of earlier releases have none; they are then made from the packed pixels and added to the pack.

    Args:
        folder: of the pack.
        images: its images.
        sizes: `[N, 2]`, width and height of the part of each that is image.
        progress: called with thumbnails made and N, if they have to be made.
    """
    found = added_array(folder, THUMBNAILS)
    if found is not None and found.shape == (len(sizes), THUMBNAIL_SIDE, THUMBNAIL_SIDE):
        return found

    def make(i: int) -> npt.NDArray[np.uint8]:
        width, height = sizes[i].tolist()
        return thumbnail(Image.fromarray(images[np.array([i])][0, :height, :width]))

    made = np.zeros((len(sizes), THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8)
    with closing(in_order(make, range(len(sizes)), num_threads=num_processors())) as results:
        for i, result in enumerate(results):
            made[i] = result
            if (i + 1) % _REPORT_EVERY == 0 or i + 1 == len(sizes):
                progress(i + 1, len(sizes))
    add_array(folder, THUMBNAILS, made)
    return made
