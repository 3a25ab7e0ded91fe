"""COCO detection annotations, read from JSON and checked once so that nothing after has to.

Shape letters: N images, T objects of all images. Boxes are (x1, y1, x2, y2) in pixels of the original image.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spinesearch.data.coco.dataset import CocoDataset, CocoImage, ImageList, normal_name
from spinesearch.data.coco.records import (
    NUMBER,
    check_unique,
    column,
    fits,
    nested_text,
    read_document,
    short,
)
from spinesearch.data.errors import DataError
from spinesearch.data.ragged import Ragged, offsets_of, ragged_texts

_MAX_AREA = 1e10  # square pixels: pycocotools ignores objects beyond its widest range of areas, (0, 1e5 ** 2)

__all__ = ["CocoDataset", "CocoImage", "file_stats", "load_coco", "read_coco", "read_images"]


def load_coco(images_dir: str | Path, annotations_path: str | Path) -> CocoDataset:
    """The data set of one annotation file, every record and the presence of every image file checked.

    Raises:
        DataError: as `read_coco`, or an image file is missing.
    """
    dataset = read_coco(images_dir, annotations_path)
    check_none_missing(dataset, file_stats(dataset.images_dir, dataset.images.names))
    return dataset


def read_coco(images_dir: str | Path, annotations_path: str | Path, *, image_field: str = "") -> CocoDataset:
    """The data set of one annotation file, every record checked; no image file is looked at.

    Masks, polygons and RLE alike, are ignored. `iscrowd` may be missing or null (0) and so may `area` (the
    box's). Ids may have gaps; ids of annotations are ignored.

    Args:
        images_dir: the folder of the images.
        annotations_path: the file.
        image_field: a field of the image records that is kept as text, with dots; see `ImageList`.

    Raises:
        DataError: the file cannot be read, or a record breaks COCO's format; names the first one and what
            to do.
    """
    images_dir, path = Path(images_dir).expanduser(), Path(annotations_path).expanduser()
    document = read_document(path)
    images = _images(path, images_dir, document["images"], image_field)
    categories = _categories(path, document["categories"])

    rows = document["annotations"]
    image_index = _lookup(path, rows, "image_id", images.ids)
    label = _lookup(path, rows, "category_id", np.array([category_id for category_id, _ in categories]))
    boxes = _clipped_boxes(path, rows, images.sizes[image_index].astype(np.float64))
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
    offsets = offsets_of(np.bincount(image_index[order], minlength=len(images)))
    return CocoDataset(
        images_dir=images_dir,
        annotations_path=path,
        images=images,
        categories=categories,
        boxes_xyxy=Ragged(boxes[order], offsets),
        labels=Ragged(label[order], offsets),
        is_crowd=Ragged(crowd[order], offsets),
        area=Ragged(area[order], offsets),
        num_dropped_boxes=int(np.count_nonzero(~usable)),
    )


def read_images(images_dir: Path, annotations_path: Path, *, image_field: str) -> ImageList:
    """The images alone of a file that `read_coco` reads, with a field of their records.

    Raises:
        DataError: as `read_coco`.
    """
    return _images(annotations_path, images_dir, read_document(annotations_path)["images"], image_field)


def file_stats(images_dir: Path, names: Ragged[np.uint8]) -> npt.NDArray[np.int64]:
    """Bytes and time of last change (ns) of every image file, int64 `[N, 2]`; -1 where there is none.

    Raises:
        DataError: there is no such folder.
    """
    if not images_dir.is_dir():
        raise DataError(
            f"images folder {images_dir}: is no folder; give the one that holds the images of the annotations"
        )
    stats = np.full((len(names), 2), -1, np.int64)
    folder = os.fsencode(images_dir)
    for i, name in enumerate(names):
        try:
            stat = os.stat(os.path.join(folder, name.tobytes()))
        except (OSError, ValueError):  # ValueError: a name no file can have
            continue
        stats[i] = stat.st_size, stat.st_mtime_ns
    return stats


def check_none_missing(dataset: CocoDataset, stats: npt.NDArray[np.int64]) -> None:
    """Raises `DataError` if an image of the data set has no file, by its `file_stats`."""
    missing = np.flatnonzero(stats[:, 0] < 0)
    if len(missing):
        raise DataError(
            f"images folder {dataset.images_dir}: {dataset.images[missing[0]].file_name!r} is missing "
            f"({len(missing)} of {len(stats)} images of {dataset.annotations_path} are); fetch the files, "
            "give the folder they are in, or set data.skip_broken=true to go on without them"
        )


def _images(path: Path, images_dir: Path, rows: list[dict[str, Any]], image_field: str) -> ImageList:
    if not rows:
        raise DataError(f"{path}: images: the list is empty; give a file with training images")
    ids = column(path, "images", rows, "id", (int,))
    check_unique(path, "images", "id", ids)
    names = column(path, "images", rows, "file_name", (str,))
    # One file under two ids could be trained on under the one and scored on under the other.
    check_unique(path, "images", "file_name", [_path_in(images_dir, name) for name in names], shown=names)
    widths = column(path, "images", rows, "width", (int,))
    heights = column(path, "images", rows, "height", (int,))
    for field, values in (("width", widths), ("height", heights)):
        if min(values) < 1:
            i = next(i for i, value in enumerate(values) if value < 1)
            raise DataError(
                f"{path}: images[{i}].{field}: must be at least 1 pixel, got {values[i]}; correct the file"
            )
    order = np.argsort(np.array(ids, np.int64))
    sizes = np.stack((np.array(widths, np.int64), np.array(heights, np.int64)), axis=1)
    return ImageList(
        np.array(ids, np.int64)[order],
        sizes[order],
        ragged_texts([names[i] for i in order]),
        ragged_texts([nested_text(rows[i], image_field) for i in order]) if image_field else None,
    )


def _path_in(images_dir: Path, file_name: str) -> str:
    """A file's path inside the folder, one text for every spelling of its name."""
    name = normal_name(file_name)
    return os.path.relpath(name, images_dir) if os.path.isabs(name) else name


def _categories(path: Path, rows: list[dict[str, Any]]) -> tuple[tuple[int, str], ...]:
    if not rows:
        raise DataError(f"{path}: categories: the list is empty; name at least one class")
    ids = column(path, "categories", rows, "id", (int,))
    check_unique(path, "categories", "id", ids)
    return tuple(sorted(zip(ids, column(path, "categories", rows, "name", (str,)), strict=True)))


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
    """The records' areas [T], and the box's own where a record has none in COCO's range of areas.

    An object of an area outside of it would not be scored at all.
    """
    values = np.array(column(path, "annotations", rows, "area", NUMBER, default=np.nan), np.float64)
    own = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return np.where((values >= 0) & (values <= _MAX_AREA), values, own).astype(np.float32)


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
