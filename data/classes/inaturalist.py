"""iNaturalist's JSON: COCO's three lists, whose annotations name a class for each image and no box."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spinesearch.data.classes.folders import ClassOf, Lists
from spinesearch.data.coco.document import read_document
from spinesearch.data.errors import DataError

_KEPT = ("id", "file_name", "width", "height")  # of an image


def classes_of_file(path: Path) -> Lists:
    """What COCO's annotations of a file's images are made of, one class for each.

    Raises:
        DataError: the file cannot be read, an image has no class, or two.
    """
    document = read_document(path)
    class_of: dict[str, Any] = {}
    ids: ClassOf = []
    for i, row in enumerate(document.annotations.rows):
        image, category = row.get("image_id"), row.get("category_id")
        key = json.dumps(image)
        if class_of.setdefault(key, category) != category:
            raise DataError(
                f"{path}: annotations[{i}].category_id: image {image!r} has two classes, {class_of[key]!r} "
                f"and {category!r}; an image has one class: remove the wrong annotation"
            )
        if len(class_of) > len(ids):
            ids.append((image, category))
    rows = document.images.rows
    if lacking := [i for i, row in enumerate(rows) if json.dumps(row.get("id")) not in class_of]:
        raise DataError(
            f"{path}: images[{lacking[0]}]: no annotation names its class ({len(lacking)} of {len(rows)} "
            "images are so); add one, or remove the image"
        )
    images = [{name: row[name] for name in _KEPT if name in row} for row in rows]
    categories: list[dict[str, Any]] = [
        {name: row[name] for name in ("id", "name") if name in row} for row in document.categories.rows
    ]
    return images, categories, ids
