"""COCO detection annotations, read from JSON and checked once so that nothing after has to.

Shape letters: N images, T objects of all images. Boxes are (x1, y1, x2, y2) in pixels of the original image.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spinesearch.data.coco.dataset import CocoDataset, CocoImage, ImageList, normal_name
from spinesearch.data.coco.document import Document, read_document
from spinesearch.data.coco.ids import integer_ids, positions
from spinesearch.data.coco.missing import check_none_missing, file_stats
from spinesearch.data.coco.objects import read_objects
from spinesearch.data.coco.outlines import read_outlines
from spinesearch.data.coco.records import Records, class_name, nested_text
from spinesearch.data.coco.sizes import image_sizes
from spinesearch.data.data_settings import DEFAULT_BOX_FORMAT
from spinesearch.data.errors import DataError
from spinesearch.data.ragged import Ragged, offsets_of, ragged_texts, text_of

__all__ = ["CocoDataset", "CocoImage", "file_stats", "load_coco", "read_coco", "read_images"]

Index = npt.NDArray[np.int64]


def load_coco(
    images_dir: str | Path, annotations_path: str | Path, *, box_format: str = DEFAULT_BOX_FORMAT
) -> CocoDataset:
    """The data set of one annotation file, every record and the presence of every image file checked.

    Raises:
        DataError: as `read_coco`, or an image file is missing.
    """
    dataset = read_coco(images_dir, annotations_path, box_format=box_format)
    check_none_missing(dataset, file_stats(dataset.images_dir, dataset.images.names))
    return dataset


def read_coco(
    images_dir: str | Path,
    annotations_path: str | Path,
    *,
    box_format: str = DEFAULT_BOX_FORMAT,
    image_field: str = "",
    with_masks: bool = False,
) -> CocoDataset:
    """The data set of one annotation file, every record checked.

    Image files are looked at only where the records leave open what their names or sizes are. What is given
    in an unusual form that leaves no doubt, such as numbers as text, is converted, and `notes` says so.
    Masks, polygons and RLE alike, are ignored unless requested, but where an annotation has no box. `iscrowd`
    may be missing or null (0) and so may `area` (the box's). Ids may have gaps; ids of annotations are
    ignored.

    Args:
        images_dir: the folder that file names are relative to.
        annotations_path: the file.
        box_format: one of `spinesearch.data.data_settings.BOX_FORMATS`.
        image_field: a field of the image records that is kept as text, with dots; see `ImageList`.
        with_masks: whether to read the objects' masks, which all of them must have then.

    Raises:
        DataError: the file cannot be read, a record breaks COCO's format, or most boxes cannot be of this
            format; names the first one and what to do.
    """
    images_dir, path = Path(images_dir).expanduser(), Path(annotations_path).expanduser()
    document = read_document(path, with_masks=with_masks)
    images, image_index = _images(document, images_dir, image_field)
    categories, label = _categories(document)
    objects = read_objects(document.annotations, images.sizes[image_index], box_format)

    order = np.argsort(image_index, kind="stable")
    order = order[objects.is_usable[order]]
    offsets = offsets_of(np.bincount(image_index[order], minlength=len(images)))
    masks = None
    if with_masks:
        rows = image_index[order]
        names = [text_of(images.names[i]) for i in rows.tolist()]
        masks = read_outlines(document.annotations, order, images.sizes[rows], names)
    return CocoDataset(
        images_dir=images_dir,
        annotations_path=path,
        images=images,
        categories=categories,
        boxes_xyxy=Ragged(objects.boxes[order], offsets),
        labels=Ragged(label[order], offsets),
        is_crowd=Ragged(objects.is_crowd[order], offsets),
        area=Ragged(objects.area[order], offsets),
        num_dropped_boxes=objects.num_dropped,
        notes=tuple(filter(None, (document.conversions_line(), _shared_names(categories), *objects.notes))),
        masks=masks,
    )


def read_images(images_dir: Path, annotations_path: Path, *, image_field: str) -> ImageList:
    """The images alone of a file that `read_coco` reads, with a field of their records.

    Raises:
        DataError: as `read_coco`.
    """
    images, _ = _images(read_document(annotations_path), images_dir, image_field)
    return images


def _images(document: Document, images_dir: Path, image_field: str) -> tuple[ImageList, Index]:
    """The images by rising id, and each annotation's position among them."""
    records = document.images
    if not records.rows:
        raise DataError(f"{records.path}: images: the list is empty; give a file with training images")
    ids, pointing = integer_ids(records, document.annotations, "image_id")
    records.check_unique("id", ids.tolist())
    names = records.column("file_name", (str,), lambda value: None, "a text")
    if any("\\" in name for name in names):
        names = _with_slashes(records, names, images_dir)
    # One file under two ids could be trained on under the one and scored on under the other.
    records.check_unique("file_name", [_path_in(images_dir, name) for name in names])
    index = positions(records, ids, document.annotations, "image_id", pointing)
    order = np.argsort(ids)
    sizes = image_sizes(records, images_dir, names)[order]
    texts = ragged_texts([nested_text(records.rows[i], image_field) for i in order]) if image_field else None
    return ImageList(ids[order], sizes, ragged_texts([names[i] for i in order]), texts), index


def _with_slashes(records: Records, names: list[str], images_dir: Path) -> list[str]:
    r"""The names with ``/`` for ``\``, except of files that are called so."""
    converted = []
    for name in names:
        new = name.replace("\\", "/")
        if new != name and os.path.lexists(images_dir / name):
            new = name
        converted.append(new)
        records.conversions["images.file_name with \\ for /"] += new != name
    return converted


def _shared_names(categories: tuple[tuple[int, str], ...]) -> str:
    """What to say of the first name that several categories have; empty if none has."""
    counts = Counter(name for _, name in categories)
    name, count = max(counts.items(), key=lambda item: item[1])
    if count == 1:
        return ""
    ids = " and ".join(str(key) for key, other in categories if other == name)
    return (
        f"categories {ids} are all called {name}: they are trained as {count} classes, which scores by class "
        "and `spinesearch evaluate` cannot tell apart; give them names of their own, or their objects one id"
    )


def _path_in(images_dir: Path, file_name: str) -> str:
    """A file's path inside the folder, one text for every spelling of its name."""
    name = normal_name(file_name)
    return os.path.relpath(name, images_dir) if os.path.isabs(name) else name


def _categories(document: Document) -> tuple[tuple[tuple[int, str], ...], Index]:
    """(id, name) of the categories by rising id, and each annotation's label."""
    records = document.categories
    if not records.rows:
        raise DataError(f"{records.path}: categories: the list is empty; name at least one class")
    ids, pointing = integer_ids(records, document.annotations, "category_id")
    names = records.column("name", (str,), class_name, "a text")
    name_of: dict[int, str] = {}
    pairs = zip(ids.tolist(), names, strict=True)
    if taken := [i for i, (key, name) in enumerate(pairs) if name_of.setdefault(key, name) != name]:
        records.refuse_taken("id", taken)
    # VIA writes an entry for every region.
    records.conversions["categories that repeat an earlier one"] += len(names) - len(name_of)
    label = positions(records, ids, document.annotations, "category_id", pointing)
    return tuple(sorted(name_of.items())), label
