"""The data a proxy task trains and is scored on: settings in, packed images and padded ground truth out.

Shape letters: N images, M objects of the image that has most, S side of a packed image. Boxes are
(x1, y1, x2, y2).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spinesearch.data.cache import default_cache_dir
from spinesearch.data.coco.dataset import CocoDataset
from spinesearch.data.coco.read import held_out_mask
from spinesearch.data.data_settings import (
    CocoDataSettings,
    DataSettings,
    GeneratedDataSettings,
    check_integer,
)
from spinesearch.data.drawn.generate import generate_dataset, generated_folder
from spinesearch.data.errors import DataError
from spinesearch.data.pack.pack import ImagePack, Pack, open_pack, packs_in
from spinesearch.data.pack.pack_build import PACK_VERSION, PackSource
from spinesearch.data.pack.storage import storage_of

__all__ = [
    "CocoDataSettings",
    "DataSettings",
    "GeneratedDataSettings",
    "ProxyData",
    "open_data",
    "reopen_data",
]

_log = logging.getLogger(__name__)
_MANY_CROWDS = 0.05  # share of the objects; COCO's is 0.012
_told: set[str] = set()  # what this process has been warned of already

Progress = Callable[[str, int, int], None]
"""Called with what is done, how far and out of how many, while there is something to wait for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProxyData:
    """Images and ground truth of a proxy task, at one image size. All large arrays are mapped from disk.

    Attributes:
        name: as the settings have it.
        dataset: the annotations, in original pixels, crowd boxes included.
        pack: the images; index i of every array here is ``dataset.images[i]``.
        class_names: by label.
        train_index: int64, images to train on, rising; images without objects are among them.
        held_out_index: int64, images to score on, rising; no image is in both.
        boxes: float32 [N, M, 4], targets in packed pixels, zeros after an image's last; no crowd boxes.
        labels: int64 [N, M], 0..K-1, and -1 after an image's last.
        key: content key: equal for two workers exactly when they train and score on the same data.
    """

    name: str
    dataset: CocoDataset
    pack: ImagePack
    class_names: tuple[str, ...]
    train_index: npt.NDArray[np.int64]
    held_out_index: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    key: str

    @property
    def num_classes(self) -> int:
        """K, the number of categories of the file, used or not."""
        return len(self.class_names)


def open_data(
    settings: DataSettings,
    *,
    image_size: int,
    progress: Progress | None = None,
    warn: Callable[[str], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> ProxyData:
    """The data of `settings`, generated and packed on the first call and opened from the cache on later ones.

    Args:
        settings: which data.
        image_size: S, pixels; images get this long side.
        progress: see `Progress`.
        warn: called with one line if boxes or images of the data set are left out; None logs it. A process
            says it once per data set, to whoever opens it first.
        tell: called with a line before and after something is written: how much, how fast.

    Raises:
        DataError: the data cannot be used as they are; see `open_pack`.
    """
    check_integer("proxy_task.image_size", image_size, minimum=1)
    report = progress or (lambda description, done, total: None)
    cache_dir = _cache_dir(settings)
    if isinstance(settings, GeneratedDataSettings):
        generate_dataset(
            cache_dir / "generated",
            num_images=settings.num_images,
            num_val_images=settings.num_val_images,
            seed=settings.seed,
            progress=lambda done, total: report("drawing images", done, total),
        )
    pack = open_pack(
        _source(settings, image_size),
        cache_dir,
        check=lambda dataset: _check_splits(dataset, settings.held_out_share),
        progress=lambda done, total: report("packing images", done, total),
        tell=tell,
    )
    _warn_of_what_is_left_out(pack, warn or _log.warning)
    _check_splits(pack.dataset, settings.held_out_share)
    return _proxy_data(settings, pack, image_size)


def reopen_data(settings: DataSettings, *, image_size: int, key: str) -> ProxyData:
    """The data that another process has opened with these settings, as a worker of a search does.

    Where the pack is in this machine's cache, it is all that is read: neither the annotations nor the images
    need be here. Elsewhere the data are opened as by `open_data`.

    Args:
        settings: which data.
        image_size: S, pixels.
        key: of the other process's data.

    Raises:
        DataError: the data cannot be opened here, or they are not the other process's.
    """
    for pack in packs_in(_cache_dir(settings), _source(settings, image_size)):
        if _key(settings, pack, image_size) == key:
            return _proxy_data(settings, pack, image_size)
    # The other process has warned of what is odd about the data.
    data = open_data(settings, image_size=image_size, warn=lambda line: None, tell=_log.info)
    if data.key != key:
        raise DataError(
            f"data: this machine's copy (key {data.key}) is not the one the search uses (key {key}); "
            "copy the same images and annotations here"
        )
    return data


def _cache_dir(settings: DataSettings) -> Path:
    return Path(settings.cache_dir).expanduser() if settings.cache_dir else default_cache_dir()


def _source(settings: DataSettings, image_size: int) -> PackSource:
    if isinstance(settings, GeneratedDataSettings):
        root = generated_folder(
            _cache_dir(settings) / "generated",
            num_images=settings.num_images,
            num_val_images=settings.num_val_images,
            seed=settings.seed,
        )
        return PackSource(
            images_dir=root / "train",
            annotations_path=root / "annotations" / "instances_train.json",
            image_size=image_size,
            storage=storage_of(settings),
        )
    return PackSource(
        images_dir=Path(settings.train_images).expanduser(),
        annotations_path=Path(settings.train_annotations).expanduser(),
        image_size=image_size,
        storage=storage_of(settings),
        skip_broken=settings.skip_broken,
        box_format=settings.box_format,
        max_megapixels=settings.max_megapixels,
    )


def _proxy_data(settings: DataSettings, pack: Pack, image_size: int) -> ProxyData:
    held_out = held_out_mask(pack.dataset.images.ids.tolist(), settings.held_out_share)
    return ProxyData(
        name=settings.name,
        dataset=pack.dataset,
        pack=pack.images,
        class_names=tuple(name for _, name in pack.dataset.categories),
        train_index=np.flatnonzero(~held_out),
        held_out_index=np.flatnonzero(held_out),
        boxes=pack.boxes,
        labels=pack.labels,
        key=_key(settings, pack, image_size),
    )


def _key(settings: DataSettings, pack: Pack, image_size: int) -> str:
    storage = storage_of(settings).label
    facts = (PACK_VERSION, pack.content_key, image_size, storage, float(settings.held_out_share))
    return hashlib.blake2b(repr(facts).encode()).hexdigest()[:16]


def _warn_of_what_is_left_out(pack: Pack, warn: Callable[[str], None]) -> None:
    path = pack.dataset.annotations_path
    for note in pack.dataset.notes:
        _once(f"{path}: {note}", path, pack, warn)
    if crowds := np.count_nonzero(pack.dataset.is_crowd.flat):
        _once(f"{path}: {_crowds(int(crowds), len(pack.dataset.is_crowd.flat))}", path, pack, warn)
    if count := pack.dataset.num_dropped_boxes:
        boxes = "1 box is" if count == 1 else f"{count} boxes are"
        _once(f"{path}: {boxes} left out: empty, not finite or outside the image", path, pack, warn)
    if pack.skipped:
        first, count = pack.skipped[0], len(pack.skipped)
        images = "1 image is" if count == 1 else f"{count} images are"
        more = f"; and {count - 1} more" if count > 1 else ""
        reason = first.reason.partition(";")[0]
        line = f"{path}: {images} left out (data.skip_broken): {first.file_name} {reason}{more}"
        _once(line, path, pack, warn)


def _crowds(count: int, total: int) -> str:
    """How many of the objects are crowds, and where they are many, what is often meant."""
    line = f"objects with iscrowd 1, as crowds neither trained on nor scored: {count} of {total}"
    if count > _MANY_CROWDS * total:
        line += "; set it to 0 in the file if each is one object (CVAT and others export masks as iscrowd 1)"
    return line


def _once(line: str, path: Path, pack: Pack, warn: Callable[[str], None]) -> None:
    mark = f"{path.resolve()} {pack.content_key} {line}"
    if mark not in _told:
        _told.add(mark)
        warn(line)


def _check_splits(dataset: CocoDataset, share: float) -> None:
    """Raises `DataError` unless both splits have an object."""
    held_out = held_out_mask(dataset.images.ids.tolist(), share)
    image_index = np.repeat(np.arange(len(held_out)), np.diff(dataset.labels.offsets))
    has_object = np.zeros(len(held_out), np.bool_)
    has_object[image_index[~dataset.is_crowd.flat]] = True
    for split, mask in (("training", ~held_out), ("held-out", held_out)):
        if not np.any(has_object & mask):
            raise DataError(
                f"data.held_out_share: with {share} the {split} split has no box to learn from or score on "
                f"({np.count_nonzero(mask)} of {len(mask)} images are in it); change data.held_out_share, or "
                "give more images"
            )
