"""Building a pack: every image decoded and resized on all processors, and nothing left of it unless it ends.

Shape letters: N images, S side of the packed square in pixels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spinesearch.data.cache import (
    MOVE_HINT,
    check_free_space,
    free_space,
    partial_path,
    publish,
    readable_bytes,
    remove,
)
from spinesearch.data.coco.dataset import CocoDataset, content_key
from spinesearch.data.coco.missing import TRAIN_IMAGES, check_none_missing, file_stats
from spinesearch.data.coco.read import read_coco
from spinesearch.data.data_settings import DEFAULT_BOX_FORMAT, DEFAULT_MAX_MEGAPIXELS
from spinesearch.data.errors import DataError
from spinesearch.data.pack.array_folder import save_array, seal
from spinesearch.data.pack.images import BrokenImage, read_image, shrunk
from spinesearch.data.pack.pack_files import padded_targets, save_dataset
from spinesearch.data.pack.storage import DEFAULT_JPEG_QUALITY, JpegStorage, Storage
from spinesearch.data.pack.thumbnails import THUMBNAIL_SIDE, THUMBNAILS, thumbnail
from spinesearch.data.parallel import in_order, num_processors

PACK_VERSION = 3  # count up when the same files would give other pixels, or the pack's files change
_MAX_THREADS = 16
_NUM_SAMPLES = 32  # images from whose JPEGs the length of all is estimated
_ESTIMATE_MARGIN = 1.2  # room required, over the estimate
_WORTH_A_HINT = 10**9  # bytes from which the message on raw storage mentions JPEGs
_REPORT_EVERY = 16  # images


@dataclass(frozen=True, kw_only=True, slots=True)
class PackSource:
    """What is packed, and how.

    Attributes:
        images_dir: the folder of the images.
        annotations_path: their annotations.
        image_size: S, pixels; images get this long side.
        storage: how the pixels lie on disk.
        skip_broken: leave out images whose file cannot be used, instead of refusing to pack.
        box_format: of the annotations.
        max_megapixels: images of more are broken.
        image_field: a field of the image records that `open_pack` hands to its `check`, see `read_coco`; it
            is no part of the pack.
        images_setting: the setting that names the folder of the images, for messages.
    """

    images_dir: Path
    annotations_path: Path
    image_size: int
    storage: Storage
    skip_broken: bool = False
    box_format: str = DEFAULT_BOX_FORMAT
    max_megapixels: float = DEFAULT_MAX_MEGAPIXELS
    image_field: str = ""
    images_setting: str = TRAIN_IMAGES


class Skipped(NamedTuple):
    """An image that is left out as broken, with the `file_stats` of its file."""

    file_name: str
    reason: str
    num_bytes: int
    changed_ns: int


def build_pack(
    source: PackSource,
    path: Path,
    check: Callable[[CocoDataset], None],
    progress: Callable[[int, int], None],
    report: Callable[[str], None],
) -> None:
    """Writes the pack into the folder `path`, in place of the one that is there, or nothing.

    The caller holds the lock of `path`. `open_pack` says what the three functions get.

    Raises:
        DataError: see `open_pack`.
    """
    dataset = read_coco(
        source.images_dir,
        source.annotations_path,
        box_format=source.box_format,
        image_field=source.image_field,
    )
    stats = file_stats(source.images_dir, dataset.images.names, source.images_setting)
    check_none_missing(dataset, stats, skip_broken=source.skip_broken, setting=source.images_setting)
    check(dataset)
    partial = partial_path(path)
    try:
        remove(path)
        remove(partial)  # of a build that was killed
        partial.mkdir()
        build = _Build(source, dataset)
        build.check_space(partial, report)
        started = time.perf_counter()
        reasons = build.write_images(partial, progress)
        is_used = np.array([i not in reasons for i in range(len(stats))])
        skipped = [
            Skipped(dataset.images[i].file_name, reason, *stats[i].tolist()) for i, reason in reasons.items()
        ]
        _write_records(partial, build, is_used, stats, skipped)
        publish(path)
    except OSError as error:  # above all: another process filled the disk
        raise DataError(
            f"cache folder {path.parent}: cannot be written ({error.strerror or error}); "
            f"free some space, or {MOVE_HINT}"
        ) from error
    finally:
        remove(partial)
    seconds = time.perf_counter() - started
    num_bytes = sum(file.stat().st_size for file in path.iterdir())
    report(
        f"packed {len(stats)} images in {seconds:.0f} s ({len(stats) / seconds:.0f} images/s): "
        f"{readable_bytes(num_bytes)} in {path}"
    )


class _Build:
    """The images of one build: their sizes, and what is stored of them."""

    def __init__(self, source: PackSource, dataset: CocoDataset) -> None:
        self.source = source
        self.dataset = dataset
        originals = dataset.images.sizes.astype(np.float64)
        scales = source.image_size / originals.max(axis=1, keepdims=True)
        self.sizes = np.rint(originals * scales).clip(min=1).astype(np.int64)
        self.scales = scales[:, 0].astype(np.float32)
        self.thumbnails = np.zeros((len(originals), THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8)

    def check_space(self, folder: Path, report: Callable[[str], None]) -> None:
        """Reports how much will be written.

        Raises:
            DataError: there is no room for it.
        """
        side, storage, num_images = self.source.image_size, self.source.storage, len(self.sizes)
        raw, free = num_images * side * side * 3, free_space(folder)
        what = f"packing {num_images} images at {side} x {side} pixels"
        where = f"into {folder.parent}, {readable_bytes(free)} are free"
        records = self._records_bytes()
        if isinstance(storage, JpegStorage):
            jpegs = self._estimated_bytes(storage) + records
            report(f"{what}: about {readable_bytes(jpegs)} of JPEGs {where} (raw: {readable_bytes(raw)})")
            check_free_space(folder.parent, round(_ESTIMATE_MARGIN * jpegs), what)
            return
        hint = ""
        if raw > min(free, _WORTH_A_HINT):
            jpegs = self._estimated_bytes(JpegStorage(DEFAULT_JPEG_QUALITY)) + records
            hint = f"set data.storage=jpeg (about {readable_bytes(jpegs)})"
        cheaper = hint and f"; {hint} for less"
        report(f"{what}: {readable_bytes(raw + records)} of raw pixels {where}{cheaper}")
        check_free_space(folder.parent, raw + records, what, hint and f"{hint}, ")

    def write_images(self, folder: Path, progress: Callable[[int, int], None]) -> dict[int, str]:
        """Writes what is stored of every image that can be used; why others cannot, by their position.

        Raises:
            DataError: there are such, and the source does not let us skip them.
        """
        reasons: dict[int, str] = {}
        total = len(self.sizes)

        def usable(results: Iterable[bytes | str]) -> Iterator[bytes]:
            for i, result in enumerate(results):
                if isinstance(result, str):
                    reasons[i] = result
                elif self.source.skip_broken or not reasons:
                    yield result
                if (i + 1) % _REPORT_EVERY == 0 or i + 1 == total:
                    progress(i + 1, total)

        with closing(self._encoded(self.source.storage, np.arange(total))) as results:
            self.source.storage.write(folder, usable(results))
        if reasons and not (self.source.skip_broken and len(reasons) < total):
            raise DataError(self._refusal(reasons))
        return reasons

    def _encoded(self, storage: Storage, index: npt.NDArray[np.int64]) -> Generator[bytes | str, None, None]:
        """What is stored of the images at these positions, or why one cannot be used."""

        def encode(i: np.int64) -> bytes | str:
            try:
                image = read_image(
                    self.source.images_dir,
                    self.dataset.images[int(i)],
                    max_megapixels=self.source.max_megapixels,
                )
            except BrokenImage as error:
                return str(error)
            width, height = self.sizes[i].tolist()
            packed = shrunk(image, width, height)
            self.thumbnails[i] = thumbnail(packed)
            return storage.encode(packed, self.source.image_size)

        # Threads: Pillow decodes, resizes and encodes without the interpreter's lock.
        return in_order(encode, index, num_threads=min(num_processors(), _MAX_THREADS))

    def _estimated_bytes(self, storage: Storage) -> int:
        """Bytes that all images take, from some that stand evenly spaced among them."""
        total = len(self.sizes)
        index = np.unique(np.linspace(0, total - 1, min(total, _NUM_SAMPLES)).astype(np.int64))
        with closing(self._encoded(storage, index)) as results:
            lengths = [len(result) for result in results if isinstance(result, bytes)]
        return round(total * sum(lengths) / max(1, len(lengths)))

    def _records_bytes(self) -> int:
        """Bytes of the targets, which are most of a pack besides its images; at most this many."""
        return int(len(self.sizes) * np.diff(self.dataset.labels.offsets).max() * (4 * 4 + 8))

    def _refusal(self, reasons: dict[int, str]) -> str:
        (first, reason), *others = reasons.items()
        path = self.source.images_dir / self.dataset.images[first].file_name
        if len(reasons) == len(self.sizes):
            return f"image {path}: {reason} (the same holds for every image of the data set)"
        more = ""
        if others:
            names = ", ".join(self.dataset.images[i].file_name for i, _ in others[:3])
            dots = ", ..." if len(others) > 3 else ""
            more = f" ({len(reasons)} of {len(self.sizes)} images cannot be used: also {names}{dots})"
        return f"image {path}: {reason}, or set data.skip_broken=true to continue without it{more}"


def _write_records(
    folder: Path,
    build: _Build,
    is_used: npt.NDArray[np.bool_],
    stats: npt.NDArray[np.int64],
    skipped: list[Skipped],
) -> None:
    """Everything but the pixels, of the images that are used, and the seal on it all."""
    dataset = build.dataset if is_used.all() else build.dataset.select(is_used)
    facts = save_dataset(folder, dataset)
    boxes, labels = padded_targets(dataset, build.scales[is_used])
    for name, array in (
        ("packed_sizes", build.sizes[is_used]),
        ("scales", build.scales[is_used]),
        ("target_boxes", boxes),
        ("target_labels", labels),
        ("file_stats", stats[is_used]),
        (THUMBNAILS, build.thumbnails[is_used]),
    ):
        save_array(folder, name, array)
    key = content_key(dataset, stats[is_used, 0])
    seal(folder, {"version": PACK_VERSION, **facts, "content_key": key, "skipped": skipped})
