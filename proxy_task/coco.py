"""COCO detection annotations as arrays, checked once so that nothing after has to.

Shape letters: N images, n objects of one image, T objects of all images. Boxes are (x1, y1, x2, y2) in
pixels of the original image; (0, 0) is the outer corner of its first pixel.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spinesearch.proxy_task.errors import DataError
from spinesearch.proxy_task.records import NUMBER, check_unique, column, fits, read_document, short


@dataclass(frozen=True, kw_only=True, slots=True)
class CocoImage:
    """One image of a data set: its COCO id, its file inside the images folder, its size in pixels."""

    id: int
    file_name: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CocoDataset:
    """Images and objects of one COCO annotation file. Entry i of a per-image field belongs to `images[i]`.

    Attributes:
        images_dir: the folder that `file_name` is relative to.
        annotations_path: the file all this came from.
        images: by rising id.
        categories: (COCO id, name) by rising id; label k is ``categories[k]``.
        boxes_xyxy: per image float32 [n, 4], clipped to the image, none empty, in the file's order.
        labels: per image int64 [n], 0..K-1.
        is_crowd: per image bool [n]; a crowd box stands for several objects and is no training target.
        area: per image float32 [n], square pixels as the file has it (a mask's area in COCO), else the box's.
        file_stats: int64 [N, 2], each image file's bytes and time of last change in whole seconds.
        num_dropped_boxes: boxes left out as empty, inverted, not finite or outside their image.
        content_key: hash of all of the above that training depends on; not of where the files lie or when
            they were written.
    """

    images_dir: Path
    annotations_path: Path
    images: tuple[CocoImage, ...]
    categories: tuple[tuple[int, str], ...]
    boxes_xyxy: tuple[npt.NDArray[np.float32], ...]
    labels: tuple[npt.NDArray[np.int64], ...]
    is_crowd: tuple[npt.NDArray[np.bool_], ...]
    area: tuple[npt.NDArray[np.float32], ...]
    file_stats: npt.NDArray[np.int64]
    num_dropped_boxes: int
    content_key: str


def load_coco(images_dir: str | Path, annotations_path: str | Path) -> CocoDataset:
    """The data set of one annotation file, every record and the presence of every image file checked.

    Masks are ignored. `iscrowd` may be missing or null (0) and so may `area` (the box's).

    Raises:
        DataError: a file is missing, or a record breaks COCO's format; names the first one and what to do.
    """
    images_dir, path = Path(images_dir).expanduser(), Path(annotations_path).expanduser()
    document = read_document(path)
    images = _images(path, document["images"])
    categories = _categories(path, document["categories"])
    file_stats = _file_stats(images_dir, path, images)

    rows = document["annotations"]
    image_index = _lookup(path, rows, "image_id", np.array([image.id for image in images]))
    label = _lookup(path, rows, "category_id", np.array([category_id for category_id, _ in categories]))
    sizes = np.array([(image.width, image.height) for image in images], np.float64)
    boxes = _clipped_boxes(path, rows, sizes[image_index])
    area = _areas(path, rows, boxes)
    crowd = np.array(column(path, "annotations", rows, "iscrowd", (int, bool), default=0), np.int64) != 0

    usable = boxes[:, 2] > 0  # no box ends left of the first pixel but the zeros that stand for "dropped"
    if not np.any(usable & ~crowd):
        raise DataError(
            f"{path}: annotations: none of {len(rows)} is a usable box (not crowd, not empty, inside its "
            "image), so there is nothing to learn; give a file with boxes [x, y, width, height] in pixels"
        )
    order = np.argsort(image_index, kind="stable")
    order = order[usable[order]]
    splits = np.searchsorted(image_index[order], np.arange(1, len(images)))
    digest = hashlib.blake2b(json.dumps([[i.id, i.file_name, i.width, i.height] for i in images]).encode())
    digest.update(json.dumps(categories).encode())
    for array in (splits, boxes[order], label[order], crowd[order], area[order], file_stats[:, 0]):
        digest.update(np.ascontiguousarray(array).tobytes())
    return CocoDataset(
        images_dir=images_dir,
        annotations_path=path,
        images=images,
        categories=categories,
        boxes_xyxy=tuple(np.split(boxes[order], splits)),
        labels=tuple(np.split(label[order], splits)),
        is_crowd=tuple(np.split(crowd[order], splits)),
        area=tuple(np.split(area[order], splits)),
        file_stats=file_stats,
        num_dropped_boxes=int(np.count_nonzero(~usable)),
        content_key=digest.hexdigest()[:32],
    )


def held_out_mask(image_ids: Sequence[int], share: float) -> npt.NDArray[np.bool_]:
    """Which images are held out of training, bool [N]: about `share` of them, each decided by its id alone.

    Neither the order nor the presence of other images matters: a subset is split like the whole.

    Args:
        image_ids: COCO ids.
        share: expected share held out, above 0 and below 1.
    """
    assert 0 < share < 1
    hashes = (hashlib.blake2b(b"%d" % image_id, digest_size=8).digest() for image_id in image_ids)
    return np.array([int.from_bytes(value, "big") < share * 2**64 for value in hashes], np.bool_)


def _images(path: Path, rows: list[dict[str, Any]]) -> tuple[CocoImage, ...]:
    if not rows:
        raise DataError(f"{path}: images: the list is empty; give a file with training images")
    ids = column(path, "images", rows, "id", (int,))
    check_unique(path, "images", ids)
    names = column(path, "images", rows, "file_name", (str,))
    widths = column(path, "images", rows, "width", (int,))
    heights = column(path, "images", rows, "height", (int,))
    for field, values in (("width", widths), ("height", heights)):
        if min(values) < 1:
            i = next(i for i, value in enumerate(values) if value < 1)
            raise DataError(
                f"{path}: images[{i}].{field}: must be at least 1 pixel, got {values[i]}; correct the file"
            )
    columns = sorted(zip(ids, names, widths, heights, strict=True))
    return tuple(CocoImage(id=i, file_name=name, width=w, height=h) for i, name, w, h in columns)


def _categories(path: Path, rows: list[dict[str, Any]]) -> tuple[tuple[int, str], ...]:
    if not rows:
        raise DataError(f"{path}: categories: the list is empty; name at least one class")
    ids = column(path, "categories", rows, "id", (int,))
    check_unique(path, "categories", ids)
    return tuple(sorted(zip(ids, column(path, "categories", rows, "name", (str,)), strict=True)))


def _file_stats(images_dir: Path, path: Path, images: Sequence[CocoImage]) -> npt.NDArray[np.int64]:
    """Bytes and whole seconds of last change of every image file, int64 [N, 2]."""
    if not images_dir.is_dir():
        raise DataError(
            f"images folder {images_dir}: is no folder; give the one that holds the images of {path}"
        )
    stats: list[tuple[int, int]] = []
    missing: list[str] = []
    for image in images:
        try:
            stat = (images_dir / image.file_name).stat()
        except (OSError, ValueError):  # ValueError: a name no file can have
            missing.append(image.file_name)
        else:
            stats.append((stat.st_size, int(stat.st_mtime)))
    if missing:
        raise DataError(
            f"images folder {images_dir}: {missing[0]!r} is missing ({len(missing)} of {len(images)} images "
            f"of {path} are); fetch the files, or give the folder they are in"
        )
    return np.array(stats, np.int64)


def _clipped_boxes(
    path: Path, rows: list[dict[str, Any]], sizes: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Boxes [T, 4] inside images of `sizes` (width, height) [T, 2]; all zero where the record gives none."""
    values = column(path, "annotations", rows, "bbox", (list,))
    for i, value in enumerate(values):
        if len(value) != 4 or not all(fits(number, NUMBER) for number in value):
            raise DataError(
                f"{path}: annotations[{i}].bbox: must be four numbers [x, y, width, height], "
                f"got {short(value)}; correct the file"
            )
    xywh = np.array(values, np.float64).reshape(-1, 4)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is not finite and dropped below
        corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    corners[~np.isfinite(corners).all(axis=1)] = 0.0
    boxes: npt.NDArray[np.float32] = np.clip(corners, 0.0, np.tile(sizes, 2)).astype(np.float32)
    boxes[(boxes[:, 0] >= boxes[:, 2]) | (boxes[:, 1] >= boxes[:, 3])] = 0.0
    return boxes


def _areas(path: Path, rows: list[dict[str, Any]], boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The records' areas [T], and the box's own where a record has none that is a finite number."""
    values = np.array(column(path, "annotations", rows, "area", NUMBER, default=np.nan), np.float64)
    own = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return np.where(np.abs(values) < np.finfo(np.float32).max, values, own).astype(np.float32)


def _lookup(
    path: Path, rows: list[dict[str, Any]], field: str, known: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Position in the sorted ids `known` of every annotation's `field`, int64 [T]."""
    ids = np.array(column(path, "annotations", rows, field, (int,)), np.int64)
    index = np.searchsorted(known, ids).clip(max=len(known) - 1)
    wrong = known[index] != ids
    if wrong.any():
        i = int(np.argmax(wrong))
        what = "images" if field == "image_id" else "categories"
        raise DataError(
            f"{path}: annotations[{i}].{field}: {ids[i]} is not the id of any of the file's {what}; "
            f"remove the annotation or add what it points at ({np.count_nonzero(wrong)} annotations do this)"
        )
    return index.astype(np.int64)
