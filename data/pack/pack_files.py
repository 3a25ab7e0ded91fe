"""The arrays of a pack on disk: a data set's records and its training targets, ready to be mapped.

A worker reads these and never the JSON they come from, so that its own memory holds neither.

Shape letters: N images, M objects of the image that has most, T objects of all images. Boxes are
(x1, y1, x2, y2).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spinesearch.data.coco.dataset import CocoDataset, ImageList
from spinesearch.data.pack.array_folder import open_array, save_array
from spinesearch.data.ragged import Ragged

Targets = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


def save_dataset(folder: Path, dataset: CocoDataset) -> dict[str, Any]:
    """Writes the arrays of a data set into the folder; what is not an array comes back, for its facts."""
    images = dataset.images
    for name, array in (
        ("image_ids", images.ids),
        ("image_sizes", images.sizes),
        ("file_names", images.names.flat),
        ("file_name_offsets", images.names.offsets),
        ("object_offsets", dataset.labels.offsets),
        ("boxes_xyxy", dataset.boxes_xyxy.flat),
        ("labels", dataset.labels.flat),
        ("is_crowd", dataset.is_crowd.flat),
        ("area", dataset.area.flat),
    ):
        save_array(folder, name, array)
    return {
        "categories": dataset.categories,
        "num_dropped_boxes": dataset.num_dropped_boxes,
        "notes": dataset.notes,
    }


def open_dataset(
    folder: Path, facts: dict[str, Any], images_dir: Path, annotations_path: Path
) -> CocoDataset:
    """The data set that `save_dataset` wrote; its arrays are paged in from disk as they are read.

    Args:
        folder: where to.
        facts: what `save_dataset` returned.
        images_dir: the data set's; nothing is read from it.
        annotations_path: the same.
    """
    offsets = open_array(folder, "object_offsets")
    return CocoDataset(
        images_dir=images_dir,
        annotations_path=annotations_path,
        images=ImageList(
            open_array(folder, "image_ids"),
            open_array(folder, "image_sizes"),
            Ragged(open_array(folder, "file_names"), open_array(folder, "file_name_offsets")),
        ),
        categories=tuple((int(category_id), str(name)) for category_id, name in facts["categories"]),
        boxes_xyxy=Ragged(open_array(folder, "boxes_xyxy"), offsets),
        labels=Ragged(open_array(folder, "labels"), offsets),
        is_crowd=Ragged(open_array(folder, "is_crowd"), offsets),
        area=Ragged(open_array(folder, "area"), offsets),
        num_dropped_boxes=int(facts["num_dropped_boxes"]),
        notes=tuple(map(str, facts.get("notes", ()))),  # younger than the first packs
    )


def padded_targets(dataset: CocoDataset, scales: npt.NDArray[np.float32]) -> Targets:
    """Boxes float32 `[N, M, 4]` in packed pixels and labels int64 `[N, M]` of all objects that are no crowd.

    Rows after an image's last object are zeros and -1.

    Args:
        dataset: N images, at least one object that is no crowd.
        scales: `[N]`, packed pixels per original pixel.
    """
    num_images = len(dataset.images)
    image_index = np.repeat(np.arange(num_images), np.diff(dataset.labels.offsets))
    wanted = ~dataset.is_crowd.flat
    image_index = image_index[wanted]
    counts = np.bincount(image_index, minlength=num_images)
    column = np.arange(len(image_index)) - np.repeat(np.cumsum(counts) - counts, counts)
    boxes = np.zeros((num_images, counts.max(), 4), np.float32)
    labels = np.full((num_images, counts.max()), -1, np.int64)
    boxes[image_index, column] = dataset.boxes_xyxy.flat[wanted] * scales[image_index, None]
    labels[image_index, column] = dataset.labels.flat[wanted]
    return boxes, labels
