"""The box around a mask, for annotations that have no other."""

from __future__ import annotations

from typing import Any

import numpy as np

Box = tuple[float, float, float, float]


def box_of_mask(mask: Any) -> Box | None:
    """(x, y, width, height) of a COCO `segmentation`; None if nothing can be made of it.

    Args:
        mask: polygons ``[[x1, y1, x2, y2, ...], ...]``, a single one without the outer list, or RLE, whose
            counts are numbers or COCO's text.
    """
    try:
        return _of_rle(mask) if isinstance(mask, dict) else _of_polygons(mask)
    except (ArithmeticError, IndexError, KeyError, TypeError, ValueError):
        return None


def _of_polygons(mask: Any) -> Box | None:
    if not isinstance(mask, list) or not mask:
        return None
    parts = mask if isinstance(mask[0], list) else [mask]
    numbers = [float(number) for part in parts for number in part]
    if any(len(part) % 2 for part in parts) or not numbers:
        return None
    xs, ys = numbers[::2], numbers[1::2]
    left, top = min(xs), min(ys)
    return left, top, max(xs) - left, max(ys) - top


def _of_rle(mask: dict[str, Any]) -> Box | None:
    """Runs of pixels outside and inside go down one column after the other."""
    height, width = (int(side) for side in mask["size"])
    counts = mask["counts"]
    ends = np.cumsum(counts_of(counts) if isinstance(counts, str) else counts, dtype=np.int64)
    if np.any(np.diff(ends, prepend=0) < 0) or len(ends) == 0 or ends[-1] > height * width:
        return None
    first, last = ends[:-1:2], ends[1::2] - 1  # of each run inside
    is_run = last >= first
    first, last = first[is_run], last[is_run]
    if len(first) == 0:
        return None
    left, right = first // height, last // height
    is_whole_column = left != right  # where a run passes the end of a column, it has its last and first row
    top = np.where(is_whole_column, 0, first % height).min()
    bottom = np.where(is_whole_column, height - 1, last % height).max()
    return float(left[0]), float(top), float(right[-1] - left[0] + 1), float(bottom - top + 1)


def counts_of(text: str) -> list[int]:
    """The counts in COCO's text: 5 bits a character from the lowest, each from the third as a difference.

    As in `rleFrString` of cocoapi (common/maskApi.c).
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    return counts
