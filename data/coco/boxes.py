"""Boxes of annotations: in whichever form they are, made into corners; and whether that form can be right.

Shape letters: T annotations.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from spinesearch.data.coco.records import Records, are_of, real_number, short
from spinesearch.data.data_settings import BOX_FORMATS
from spinesearch.data.errors import DataError

_MEANINGS = {
    "xywh": "x, y, width, height in pixels",
    "xyxy": "x1, y1, x2, y2 in pixels",
    "cxcywh": "centre x, centre y, width, height in pixels",
    "xywh_normalized": "x, y, width, height in 0..1",
    "xyxy_normalized": "x1, y1, x2, y2 in 0..1",
    "cxcywh_normalized": "centre x, centre y, width, height in 0..1, as in YOLO's files",
}
assert tuple(_MEANINGS) == BOX_FORMATS
_NORMALIZED = "_normalized"
_TINY = "have no side above a pixel"
_BEYOND = "reach beyond their image by more than a pixel"
_INVERTED = "end before they begin"
_TOLERANCE = 1.0  # pixels that a box may reach beyond its image, or a side be long, for rounding's sake
_MOST = 0.5  # share of the boxes with a fault from which they are taken to be of another format
_ALL = 0.99  # share of the boxes that must fit a format for it to be proposed
# In five public files no box reaches beyond its image; read as the other of xywh and xyxy, 61 to 97 % do. So
# where at least _ENOUGH boxes all fit xyxy, fewer outside than _MOST say the same.
_ENOUGH, _FEW, _SURE = 20, 0.05, 0.25

Numbers = npt.NDArray[np.float64]


def read_boxes(annotations: Records, box_format: str) -> tuple[Numbers, npt.NDArray[np.bool_]]:
    """Four numbers of every annotation, float64 `[T, 4]` in the box format; whether it has any, bool `[T]`.

    What has neither box nor mask is NaN. The reader has put a tuple in place of a box that it made from a
    mask: x, y, width, height, in pixels or normalised as the boxes are.

    Raises:
        DataError: a box is not four numbers; names the first.
    """
    values = annotations.values("bbox")
    if set(map(type, values)) <= {list} and set(map(len, values)) <= {4}:
        numbers = list(chain.from_iterable(values))
        if are_of(numbers, (int, float)):
            return np.array(numbers, np.float64).reshape(-1, 4), np.ones(len(values), np.bool_)
    boxes = np.full((len(values), 4), np.nan)
    has_box = np.array([not _is_none(value) for value in values], np.bool_)
    wrong = []
    for i in np.flatnonzero(has_box).tolist():
        four = _four_numbers(values[i])
        if four is None:
            wrong.append(i)
            continue
        if isinstance(values[i], tuple):
            four = _from_xywh(four, box_format)
            annotations.conversions["boxes made from masks"] += 1
        elif any(isinstance(number, str) for number in values[i]):
            annotations.note("bbox", "text")
        boxes[i] = four
    if wrong:
        annotations.refuse("bbox", wrong, f"four numbers [{_MEANINGS[box_format]}]", "correct the file")
    return boxes, has_box


def corners_of(boxes: Numbers, box_format: str, sizes: Numbers) -> Numbers:
    """The boxes as x1, y1, x2, y2 in pixels.

    Args:
        boxes: `[T, 4]`, in the box format.
        box_format: one of `BOX_FORMATS`.
        sizes: `[T, 2]`, width and height of each box's image.
    """
    form = box_format.removesuffix(_NORMALIZED)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is not finite, and left out later
        start, end = boxes[:, :2], boxes[:, 2:]
        if form == "cxcywh":
            start = start - end / 2
        if form != "xyxy":
            end = start + end
        corners = np.concatenate([start, end], axis=1)
        return corners * np.tile(sizes, 2) if form != box_format else corners


def check_format(annotations: Records, boxes: Numbers, box_format: str, sizes: Numbers) -> list[str]:
    """What is odd about the boxes as a whole, a line each.

    Args:
        annotations: T records.
        boxes: `[T, 4]`, in the box format; NaN where there is none.
        box_format: one of `BOX_FORMATS`.
        sizes: `[T, 2]`, width and height of each box's image; NaN where they are not known.

    Raises:
        DataError: most boxes have no side above a pixel or reach beyond their image, or as corners end before
            they begin, so that they are of another format.
    """
    faults, is_box = _faults(boxes, box_format, sizes)
    total = int(np.count_nonzero(is_box))
    counts = {what: int(np.count_nonzero(has_fault)) for what, has_fault in faults.items()}
    are_corners = (
        box_format == "xywh"
        and total >= _ENOUGH
        and counts[_BEYOND] > _FEW * total
        and _share_that_fits(boxes, "xyxy", sizes) == 1
    )
    for what, count in counts.items():
        if what == _INVERTED and not box_format.startswith("xyxy"):
            continue  # sides below 0 are wrong in every other format
        if count > (_SURE if are_corners and what == _BEYOND else _MOST) * total:
            first = int(np.argmax(faults[what]))
            raise DataError(
                f"{annotations.path}: annotations: {count} of {total} boxes {what}, read as "
                f"[{_MEANINGS[box_format]}], first annotations[{first}].bbox: "
                f"{short(annotations.rows[first].get('bbox'))}; {_advice(boxes, box_format, sizes)}"
            )
    notes = []
    if counts[_TINY]:
        notes.append(f"boxes that {_TINY}: {counts[_TINY]} of {total}")
    if count := int(np.count_nonzero(faults[_BEYOND] & _reaches_in(boxes, box_format, sizes))):
        line = f"boxes that {_BEYOND} and are cut off at its edge: {count} of {total}"
        if are_corners:
            line += "; all fit as x1, y1, x2, y2: if that is what they are, set data.box_format=xyxy"
        notes.append(line)
    return notes


def _faults(
    boxes: Numbers, box_format: str, sizes: Numbers
) -> tuple[dict[str, npt.NDArray[np.bool_]], npt.NDArray[np.bool_]]:
    """Which boxes have each fault, bool `[T]`, and which are boxes at all: finite, and not empty."""
    corners = corners_of(boxes, box_format, sizes)
    with np.errstate(invalid="ignore"):
        sides = corners[:, 2:] - corners[:, :2]
        is_box = np.isfinite(corners).all(axis=1) & np.isfinite(sizes).all(axis=1) & (sides != 0).all(axis=1)
        is_inverted = is_box & (sides < 0).any(axis=1)
        is_whole = is_box & ~is_inverted
        outside = (corners < -_TOLERANCE).any(axis=1) | (corners[:, 2:] > sizes + _TOLERANCE).any(axis=1)
        is_tiny = (sides <= _TOLERANCE).all(axis=1)
    return {_TINY: is_whole & is_tiny, _BEYOND: is_whole & outside, _INVERTED: is_inverted}, is_box


def _reaches_in(boxes: Numbers, box_format: str, sizes: Numbers) -> npt.NDArray[np.bool_]:
    """Which boxes have a part inside their image, bool `[T]`."""
    corners = corners_of(boxes, box_format, sizes)
    with np.errstate(invalid="ignore"):
        parts = (corners[:, :2] < sizes) & (corners[:, 2:] > 0)
        return parts[:, 0] & parts[:, 1]


def _share_that_fits(boxes: Numbers, box_format: str, sizes: Numbers) -> float:
    """The share of the boxes without a fault if they are read in this format."""
    faults, is_box = _faults(boxes, box_format, sizes)
    has_fault = np.logical_or.reduce(list(faults.values()))
    return 1 - int(np.count_nonzero(has_fault)) / max(1, int(np.count_nonzero(is_box)))


def _advice(boxes: Numbers, box_format: str, sizes: Numbers) -> str:
    """The formats that nearly all boxes fit, the best first, and how to choose one."""
    shares = {other: _share_that_fits(boxes, other, sizes) for other in BOX_FORMATS if other != box_format}
    fitting = sorted((form for form in shares if shares[form] >= _ALL), key=lambda form: -shares[form])
    if not fitting:
        return f"correct the file, or set data.box_format to what they are: one of {', '.join(BOX_FORMATS)}"
    choices = " or ".join(f"{_MEANINGS[form]}: set data.box_format={form}" for form in fitting)
    return f"they look like {choices}"


def _four_numbers(value: Any) -> tuple[float, ...] | None:
    if not isinstance(value, list | tuple) or len(value) != 4:
        return None
    numbers = [number for number in map(real_number, value) if number is not None]
    try:
        return tuple(map(float, numbers)) if len(numbers) == 4 else None
    except OverflowError:  # an integer that no float can hold
        return None


def _from_xywh(box: tuple[float, ...], box_format: str) -> tuple[float, ...]:
    """A box of a mask as the file's boxes are."""
    x, y, width, height = box
    form = box_format.removesuffix(_NORMALIZED)
    if form == "xyxy":
        return x, y, x + width, y + height
    return (x + width / 2, y + height / 2, width, height) if form == "cxcywh" else box


def _is_none(value: object) -> bool:
    """Whether a record says that there is no box: null, an empty list, or one of nulls."""
    return value is None or (isinstance(value, list) and all(number is None for number in value))
