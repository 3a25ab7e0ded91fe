"""Data sets of one class per image as COCO data sets, so that all that reads, packs and splits those serves.

The one object of an image is the whole image: a box of its full width and height, in its class. The
annotation file that says so lies in the cache, under a name that says what it was made from.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from spinesearch.data.cache import MOVE_HINT
from spinesearch.data.classes.folders import Lists, list_folders
from spinesearch.data.classes.inaturalist import classes_of_file
from spinesearch.data.data_settings import ClassDataSettings, CocoDataSettings
from spinesearch.data.errors import DataError
from spinesearch.data.sources import cache_dir
from spinesearch.data.whole_file import write_whole

_VERSION = 1  # count up when the same files would give another annotation file
_WHOLE_IMAGE = (0, 0, 1, 1)
_BOX_FORMAT = "xyxy_normalized"
_UNREAD = "."  # in place of an annotation file that is not read
Progress = Callable[[str, int, int], None]


def as_coco(
    settings: ClassDataSettings,
    splits: Collection[str] = (),
    progress: Progress = lambda what, done, total: None,
) -> CocoDataSettings:
    """The same images as settings of COCO data.

    Args:
        settings: of folders or files of classes.
        splits: whose annotations are read, of ``train`` and ``val``; they are written unless they are there.
        progress: called with what is done, how far and out of how many.

    Raises:
        DataError: a folder or a file cannot be used, or an image has not exactly one class.
    """
    if "val" in splits:
        _check_val(settings)
    files = {split: _annotations(settings, split, progress) for split in splits}
    for path, document in files.values():  # all of them, once nothing is left to refuse
        if document is not None:
            _write(path, document)
    made = {split: str(path) for split, (path, _) in files.items()}
    return CocoDataSettings(
        name=settings.name,
        train_images=settings.train_images,
        train_annotations=made.get("train", _UNREAD),
        val_images=settings.val_images if "val" in made else None,
        val_annotations=made.get("val"),
        allow_overlap=settings.allow_overlap,
        held_out_share=settings.held_out_share,
        group_by="id",
        skip_broken=settings.skip_broken,
        box_format=_BOX_FORMAT,
        max_megapixels=settings.max_megapixels,
        storage=settings.storage,
        jpeg_quality=settings.jpeg_quality,
        cache_dir=settings.cache_dir,
    )


def _check_val(settings: ClassDataSettings) -> None:
    if settings.train_annotations is not None and settings.val_annotations is None:
        raise DataError(
            "data.val_annotations: must be given where data.train_annotations is, the same of the images to "
            "validate on; add data.val_annotations=..."
        )
    if settings.val_images is None and settings.val_annotations is None:
        raise DataError(
            "data.val_images: must be given, the folder of the class folders to validate on; add "
            "data.val_images=..."
        )


def _annotations(
    settings: ClassDataSettings, split: str, progress: Progress
) -> tuple[Path, dict[str, Any] | None]:
    """Where a split's annotation file lies, and what is to be written there; None if it is there."""
    images, annotations, setting = settings.train_images, settings.train_annotations, "data.train_images"
    names = None
    if split == "val":
        images, annotations = settings.val_images or images, settings.val_annotations
        if annotations is None:  # numbered as the training images' classes
            names = list_folders(Path(settings.train_images), setting).names
        setting = "data.val_images"
    if annotations is None:
        folders = list_folders(Path(images), setting, known=names)
        return _made_of(settings, folders.state(), lambda: folders.lists(progress))
    path = Path(annotations)
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(
            f"data.{split}_annotations: {path}: cannot be read ({error.strerror}); give a file of "
            "iNaturalist's form, or null for class folders"
        ) from error
    state = os.path.realpath(path), status.st_size, status.st_mtime_ns
    return _made_of(settings, state, lambda: classes_of_file(path))


def _made_of(
    settings: ClassDataSettings, state: tuple[object, ...], lists: Callable[[], Lists]
) -> tuple[Path, dict[str, Any] | None]:
    """The same of what has this state; its lists are made only if the file is not there."""
    digest = hashlib.blake2b(repr((_VERSION, state)).encode()).hexdigest()[:24]
    path = cache_dir(settings) / "classes" / f"{digest}.json"
    if path.is_file():
        return path, None
    images, categories, class_of = lists()
    boxes = [
        {"id": number, "image_id": image, "category_id": category, "bbox": _WHOLE_IMAGE}
        for number, (image, category) in enumerate(class_of, start=1)
    ]
    return path, {"images": images, "annotations": boxes, "categories": categories}


def _write(path: Path, document: Mapping[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(document).encode())
    except OSError as error:
        raise DataError(
            f"cache folder {path.parent}: cannot be written ({error.strerror or error}); {MOVE_HINT}"
        ) from error
