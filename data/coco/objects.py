"""The objects of an annotation file: boxes, areas and flags as arrays, and what is odd about them.

Shape letters: T annotations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spinesearch.data.coco.boxes import check_format, corners_of, read_boxes
from spinesearch.data.coco.records import Records, flag, real_number
from spinesearch.data.coco.sizes import UNKNOWN_SIDE
from spinesearch.data.errors import DataError

_MAX_AREA = 1e10  # square pixels: pycocotools ignores objects beyond its widest range of areas, (0, 1e5 ** 2)


class Objects(NamedTuple):
    """What the annotations say besides which image and which category: `[T, ...]`, in the file's order."""

    boxes: npt.NDArray[np.float32]
    area: npt.NDArray[np.float32]
    is_crowd: npt.NDArray[np.bool_]
    is_usable: npt.NDArray[np.bool_]
    num_dropped: int
    notes: list[str]


def read_objects(records: Records, sizes: npt.NDArray[np.int64], box_format: str) -> Objects:
    """What the annotations say of their objects, boxes clipped to their images.

    Args:
        records: T annotations.
        sizes: `[T, 2]`, width and height of the image of each; `UNKNOWN_SIDE` where they are not known.
        box_format: one of `BOX_FORMATS`.

    Raises:
        DataError: a field is of no use, most boxes are of another format, or nothing is left to learn from.
    """
    given, has_box = read_boxes(records, box_format)
    sides = sizes.astype(np.float64)
    known_sides = np.where(sizes == UNKNOWN_SIDE, np.nan, sides) if np.any(sizes == UNKNOWN_SIDE) else sides
    notes = check_format(records, given, box_format, known_sides)
    boxes = _clipped(corners_of(given, box_format, sides), sides)
    area = _areas(records, boxes, is_given=not box_format.endswith("_normalized"))
    is_crowd = np.array(records.column("iscrowd", (int, bool), flag, "0 or 1", default=0), np.int64) != 0
    is_usable = boxes[:, 2] > 0  # no box ends left of the first pixel but the zeros that stand for "dropped"
    if not np.any(is_usable & ~is_crowd):
        raise DataError(f"{records.path}: annotations: {_nothing_to_learn(len(records), has_box, is_crowd)}")
    if count := np.count_nonzero(~has_box):
        notes.append(f"{count} of {len(records)} annotations left out, which have neither a box nor a mask")
    return Objects(boxes, area, is_crowd, is_usable, int(np.count_nonzero(has_box & ~is_usable)), notes)


def _nothing_to_learn(total: int, has_box: npt.NDArray[np.bool_], is_crowd: npt.NDArray[np.bool_]) -> str:
    """Why there is nothing to train on, and what to do."""
    if total and is_crowd.all():
        return (
            f"all {total} have iscrowd 1, which marks crowds, neither trained on nor scored; "
            "set iscrowd to 0 in the file if each is one object (CVAT and others export masks as iscrowd 1)"
        )
    if total and not has_box.any():
        return f"none of {total} has a bbox or a mask; give a file of boxes [x, y, width, height] in pixels"
    return (
        f"none of {total} is a usable box (not crowd, not empty, inside its image), so there is nothing to "
        "learn; give a file with boxes [x, y, width, height] in pixels"
    )


def _clipped(corners: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Boxes [T, 4] inside images of `sizes` (width, height) [T, 2]; all zero where nothing is left of one."""
    corners[~np.isfinite(corners).all(axis=1)] = 0.0
    boxes: npt.NDArray[np.float32] = np.clip(corners, 0.0, np.tile(sizes, 2)).astype(np.float32)
    boxes[(boxes[:, 0] >= boxes[:, 2]) | (boxes[:, 1] >= boxes[:, 3])] = 0.0
    return boxes


def _areas(records: Records, boxes: npt.NDArray[np.float32], *, is_given: bool) -> npt.NDArray[np.float32]:
    """The records' areas [T], and the box's own where a record has none in COCO's range of areas.

    An object of an area outside of it would not be scored at all.

    Args:
        records: T annotations.
        boxes: `[T, 4]`, in pixels.
        is_given: whether the records' areas are square pixels; else all are the box's.
    """
    own = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    if not is_given:
        return own.astype(np.float32)
    column = records.column("area", (int, float), real_number, "a number", default=np.nan)
    values = np.array(column, np.float64)
    return np.where((values >= 0) & (values <= _MAX_AREA), values, own).astype(np.float32)
