"""Widths and heights of images: from the records, and where these have none from the image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from spinesearch.data.coco.document import read_document
from spinesearch.data.coco.records import Records, are_of, whole_number
from spinesearch.data.image_files import StoredSize, stored_size
from spinesearch.data.parallel import in_order, num_processors

_FIELDS = ("width", "height")
_MAX_SIDE = 2**31  # pixels; no image file has more
_MAX_THREADS = 16
# Stands for the sides of an image of which neither the records nor the file say them. Such a file is missing
# or broken, which is reported by what reads its pixels; until then no box may be taken to lie outside.
UNKNOWN_SIDE = 2**20


def image_sizes(images: Records, images_dir: Path, names: list[str]) -> npt.NDArray[np.int64]:
    """Width and height of every image, int64 `[N, 2]`; `UNKNOWN_SIDE` where nothing says them.

    A side that is missing, null, 0 or negative is read from the header of the image file, as the image is
    stored.

    Args:
        images: N records.
        images_dir: the folder of the files.
        names: theirs.

    Raises:
        DataError: a side is no whole number; names the first.
    """
    columns = [images.values(field) for field in _FIELDS]
    if all(are_of(column, (int,)) and min(column) >= 1 and max(column) <= _MAX_SIDE for column in columns):
        return np.array(columns, np.int64).T
    sizes = np.zeros((len(images), 2), np.int64)
    for k, (field, column) in enumerate(zip(_FIELDS, columns, strict=True)):
        wrong = []
        for i, value in enumerate(column):
            side = 0 if value is None else whole_number(value)
            if side is None or side > _MAX_SIDE:
                wrong.append(i)
                continue
            sizes[i, k] = max(0, side)
            if side > 0 and type(value) is not int:
                images.note(field, value)
        if wrong:
            images.refuse(field, wrong, "a whole number of pixels")
    _read_missing(images, sizes, images_dir, names)
    return sizes


def largest_side(annotations_path: Path) -> int | None:
    """The longest side of any image, in pixels, by the records of an annotation file; None if one lacks it.

    Raises:
        DataError: the file cannot be read, or is none.
    """
    images = read_document(annotations_path).images
    sides = [side for field in _FIELDS for side in images.values(field)]
    return max(sides) if sides and are_of(sides, (int,)) and min(sides) >= 1 else None


def _read_missing(images: Records, sizes: npt.NDArray[np.int64], images_dir: Path, names: list[str]) -> None:
    """Puts the sizes of the files in place of those with a side of 0."""

    def read(i: int) -> StoredSize | None:
        try:
            return stored_size(images_dir / names[i])
        except (OSError, ValueError):  # ValueError: a name no file can have
            return None

    lacking = np.flatnonzero((sizes < 1).any(axis=1)).tolist()
    num_read = num_turned = 0
    for i, size in zip(
        lacking,
        in_order(read, lacking, num_threads=min(num_processors(), _MAX_THREADS)),
        strict=True,
    ):
        sizes[i] = UNKNOWN_SIDE if size is None else size[:2]
        num_read += size is not None
        num_turned += size is not None and size.is_turned
    if num_read:
        images.conversions["sizes of images read from their files"] += num_read
    if num_turned:
        images.conversions["of these as stored, although their EXIF orientation turns them"] += num_turned
