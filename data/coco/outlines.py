"""The masks of a data set's objects: polygons and RLE read, and kept as COCO's compressed run lengths."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from spinesearch.data.coco.masks import counts_of
from spinesearch.data.coco.records import Records
from spinesearch.data.errors import DataError
from spinesearch.data.ragged import Ragged, offsets_of

_HINT = "correct the file, or train boxes alone with detector=retinanet"
_MAX_NAMED = 3  # images


def read_outlines(
    records: Records,
    order: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    names: Sequence[str],
) -> Ragged[np.uint8]:
    """The compressed run lengths of these annotations' masks, in their order.

    Args:
        records: the annotations.
        order: `[T]`, positions in them.
        sizes: `[T, 2]`, width and height of the image of each.
        names: T file names of these images.

    Raises:
        DataError: objects without a mask, of which it names the images; a polygon of fewer than three points;
            an RLE of another size than its image.
    """
    masks = [records.rows[i].get("segmentation") for i in order.tolist()]
    if missing := [name for name, mask in zip(names, masks, strict=True) if not mask]:
        _refuse_missing(records, missing)
    encoded = []
    for i, mask, (width, height) in zip(order.tolist(), masks, sizes.tolist(), strict=True):
        try:
            encoded.append(_encoded(mask, width, height))
        except _NotAMask as error:
            if isinstance(mask, list):  # for people to read
                shown = [part.tolist() if isinstance(part, array) else part for part in mask]
                records.rows[i]["segmentation"] = shown
            records.refuse("segmentation", [i], str(error), _HINT)
    return Ragged(np.frombuffer(b"".join(encoded), np.uint8), offsets_of([len(code) for code in encoded]))


def encode_mask(mask: npt.NDArray[np.bool_]) -> bytes:
    """COCO's compressed run lengths of a mask `[H, W]`."""
    from pycocotools import mask as coco_mask

    counts: bytes = coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"]
    return counts


def decode_mask(counts: bytes, width: int, height: int) -> npt.NDArray[np.uint8]:
    """The mask uint8 `[H, W]` of zeros and ones that compressed run lengths stand for."""
    runs = counts_of(counts.decode("ascii"))  # pycocotools' own warns under NumPy 2
    values = np.arange(len(runs), dtype=np.uint8) & 1
    return np.repeat(values, runs).reshape(width, height).T


def mask_areas(masks: list[dict[str, Any]]) -> npt.NDArray[np.float64]:
    """Pixels of each of these RLEs."""
    # pycocotools counts at most 255 at once.
    return np.array([sum(counts_of(mask["counts"].decode("ascii"))[1::2]) for mask in masks], np.float64)


class _NotAMask(Exception):  # noqa: N818 - its text is the rule that is broken
    """A segmentation is none."""


def _refuse_missing(records: Records, names: list[str]) -> NoReturn:
    images = list(dict.fromkeys(names))
    dots = ", ..." if len(images) > _MAX_NAMED else ""
    raise DataError(
        f"{records.path}: annotations.segmentation: {len(names)} of {len(records)} objects have no mask, "
        f"which detector=mask_rcnn needs, in {len(images)} images ({', '.join(images[:_MAX_NAMED])}{dots}); "
        f"give a file with masks (a generated set that is older than masks is drawn again once its folder "
        f"is removed), or train boxes alone with detector=retinanet"
    )


def _encoded(mask: Any, width: int, height: int) -> bytes:
    """COCO's text of the run lengths of a mask.

    Raises:
        _NotAMask: it is none of this image.
    """
    from pycocotools import mask as coco_mask

    if isinstance(mask, dict):
        return _encoded_runs(mask, width, height)
    if not isinstance(mask, list) or not all(map(_is_polygon, mask)):
        raise _NotAMask("polygons of at least three points each, [[x1, y1, x2, y2, x3, y3, ...], ...]")
    polygons = coco_mask.frPyObjects([part.tolist() for part in mask], height, width)
    merged: bytes = coco_mask.merge(polygons)["counts"]
    return merged


def _is_polygon(part: Any) -> bool:
    is_numbers = isinstance(part, array) and len(part) >= 6 and len(part) % 2 == 0
    return is_numbers and bool(np.isfinite(part).all())


def _encoded_runs(mask: dict[str, Any], width: int, height: int) -> bytes:
    from pycocotools import mask as coco_mask

    rule = f"RLE of the size of its image, [{height}, {width}] (height, width), whose counts fill it"
    counts = mask.get("counts")
    if mask.get("size") != [height, width] or not isinstance(counts, list | str):
        raise _NotAMask(rule)
    try:
        runs = counts_of(counts) if isinstance(counts, str) else [int(count) for count in counts]
    except (IndexError, TypeError, ValueError):
        raise _NotAMask(rule) from None
    if min(runs, default=-1) < 0 or sum(runs) != height * width:
        raise _NotAMask(rule)
    plain = {"size": [height, width], "counts": runs}
    encoded: bytes = coco_mask.frPyObjects(plain, height, width)["counts"]
    return encoded
