"""A data set decoded once, resized and padded, in memory-mapped files that every worker of a machine shares.

Shape letters: N images, M objects of the image that has most, S side of the packed square in pixels. Boxes
are (x1, y1, x2, y2).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spinesearch.data.cache import MOVE_HINT, build_lock
from spinesearch.data.coco.dataset import CocoDataset
from spinesearch.data.coco.missing import file_stats
from spinesearch.data.data_settings import DEFAULT_BOX_FORMAT, DEFAULT_MAX_MEGAPIXELS
from spinesearch.data.errors import DataError
from spinesearch.data.pack.array_folder import open_array, read_facts
from spinesearch.data.pack.pack_build import PACK_VERSION, PackSource, Skipped, build_pack
from spinesearch.data.pack.pack_files import open_dataset
from spinesearch.data.pack.storage import PackedImages, Storage
from spinesearch.data.ragged import ragged_texts


@dataclass(frozen=True, kw_only=True, slots=True)
class ImagePack:
    """All images of a data set at one size.

    Attributes:
        images: uint8 [N, S, S, 3], RGB, read-only and paged in from disk as it is read. An image lies in the
            top left corner, its long side S; the rest is zero.
        sizes: int64 [N, 2], width and height of the part that is image, packed pixels.
        scales: float32 [N], packed pixels per original pixel; boxes are multiplied by it.
    """

    images: PackedImages
    sizes: npt.NDArray[np.int64]
    scales: npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pack:
    """A data set as it is packed; all arrays are mapped from disk.

    Attributes:
        dataset: its images that can be used, and their objects in original pixels.
        images: the pixels of ``dataset.images``.
        boxes: float32 [N, M, 4], training targets in packed pixels, zeros after an image's last; no crowds.
        labels: int64 [N, M], 0..K-1, and -1 after an image's last.
        skipped: images of the annotation file that are left out as broken.
        content_key: hash of what was packed, see `spinesearch.data.coco.dataset.content_key`.
        folder: holds its files.
    """

    dataset: CocoDataset
    images: ImagePack
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    skipped: tuple[Skipped, ...]
    content_key: str
    folder: Path


def open_pack(
    source: PackSource,
    cache_dir: Path,
    *,
    check: Callable[[CocoDataset], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    report: Callable[[str], None] | None = None,
) -> Pack:
    """The pack of a data set, built by the first process to ask.

    Processes that ask meanwhile wait. An interrupted build is never read; the next one to ask starts over. A
    pack is built again when an image file has changed in length or time.

    Args:
        source: the data set, and how it is to be packed.
        cache_dir: holds the packs.
        check: called with the data set before a build begins; what it raises ends it.
        progress: called with images done and N, from this thread, by the process that builds.
        report: called with a line before and after there is something to wait for: how much is written, what
            is waited for, how fast it was.

    Raises:
        DataError: the annotations or an image cannot be used, or the cache cannot be written or has too
            little space.
    """
    report = report or (lambda line: None)
    path = cache_dir / "packs" / _entry_name(source)

    def checked(dataset: CocoDataset) -> None:
        """What was read is what the folder's name says: the file may have changed since it was hashed."""
        if _entry_name(source) != path.name:
            raise DataError(
                f"annotation file {source.annotations_path}: changed while it was read; "
                "give the command again"
            )
        if check is not None:
            check(dataset)

    pack = _open_current(path, source)
    if pack is None:
        waiting = f"waiting for another process, which packs the images of {source.annotations_path}"
        with build_lock(path, lambda: report(waiting)):
            pack = _open_current(path, source)
            if pack is None:
                build_pack(source, path, checked, progress or (lambda done, total: None), report)
                pack = _open(path, source)
    if pack is None:
        raise DataError(f"cache folder {path.parent}: {path.name} vanished as it was built; {MOVE_HINT}")
    return pack


def packs_in(cache_dir: Path, source: PackSource) -> Iterator[Pack]:
    """Every finished pack of this size and storage, whatever it was made from; no data set is read."""
    for path in sorted((cache_dir / "packs").glob(f"{_kind(source.image_size, source.storage)}-*")):
        if pack := _open(path, source):
            yield pack


def _entry_name(source: PackSource) -> str:
    """Name of the pack's folder: size, storage, and hash of the annotation file's content and all settings.

    The image files are no part of it: when one of them changes, the new pack takes the place of the old.
    """
    path = source.annotations_path
    try:
        with open(path, "rb") as file:
            annotations = hashlib.file_digest(file, "blake2b").hexdigest()
    except OSError as error:
        raise DataError(
            f"annotation file {path}: cannot be read ({error.strerror}); "
            "expected a COCO detection file such as instances_train2017.json"
        ) from error
    facts: list[Any] = [PACK_VERSION, annotations, os.path.realpath(source.images_dir), source.skip_broken]
    # Only if set, so that the packs of before these settings are still found.
    if source.box_format != DEFAULT_BOX_FORMAT:
        facts.append({"box_format": source.box_format})
    if source.max_megapixels != DEFAULT_MAX_MEGAPIXELS:
        facts.append({"max_megapixels": float(source.max_megapixels)})
    digest = hashlib.blake2b(json.dumps(facts).encode()).hexdigest()[:24]
    return f"{_kind(source.image_size, source.storage)}-{digest}"


def _kind(image_size: int, storage: Storage) -> str:
    return f"{image_size}px-{storage.label}"


def _open_current(path: Path, source: PackSource) -> Pack | None:
    """The finished pack, if its image files are as they were when it was built.

    Raises:
        DataError: there is not a folder of images.
    """
    pack = _open(path, source)
    if pack is None:
        return None
    skipped_names = ragged_texts([image.file_name for image in pack.skipped])
    skipped_stats = [(image.num_bytes, image.changed_ns) for image in pack.skipped]
    stats, now_skipped = (
        file_stats(source.images_dir, names, source.images_setting)
        for names in (pack.dataset.images.names, skipped_names)
    )
    is_current = np.array_equal(stats, open_array(path, "file_stats")) and np.array_equal(
        now_skipped, np.array(skipped_stats, np.int64).reshape(-1, 2)
    )
    return pack if is_current else None


def _open(path: Path, source: PackSource) -> Pack | None:
    """The finished pack, or None when there is none or it is not what a build leaves behind."""
    facts: dict[str, Any] | None = read_facts(path)
    if facts is None or facts.get("version") != PACK_VERSION:
        return None
    try:
        dataset = open_dataset(path, facts, source.images_dir, source.annotations_path)
        return Pack(
            dataset=dataset,
            images=ImagePack(
                images=source.storage.open(path, len(dataset.images), source.image_size),
                sizes=open_array(path, "packed_sizes"),
                scales=open_array(path, "scales"),
            ),
            boxes=open_array(path, "target_boxes"),
            labels=open_array(path, "target_labels"),
            skipped=tuple(Skipped(*row) for row in facts["skipped"]),
            content_key=str(facts["content_key"]),
            folder=path,
        )
    except (OSError, ValueError, KeyError):  # damaged, or removed meanwhile
        return None
