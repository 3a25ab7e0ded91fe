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

from spinesearch.proxy_task.cache import default_cache_dir
from spinesearch.proxy_task.coco import CocoDataset, held_out_mask, load_coco
from spinesearch.proxy_task.errors import DataError
from spinesearch.proxy_task.generate import generate_dataset
from spinesearch.proxy_task.pack import PACK_VERSION, ImagePack, pack_images

_log = logging.getLogger(__name__)
_warned_of: set[tuple[Path, str, int]] = set()  # data sets whose dropped boxes this process has told of


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratedDataSettings:
    """A data set the tool draws itself, see `generate`; needs no download.

    Attributes:
        name: what logs and reports call it.
        num_images: training images, at least 2; held-out images come from these.
        num_val_images: images of the val split; no search reads them, they are for training its result.
        seed: two seeds give two data sets of one kind.
        held_out_share: expected share of the training images that scores are measured on, in (0, 1).
        cache_dir: holds the images and their pack; None is `default_cache_dir`.

    Raises:
        DataError: a value breaks its rule.
    """

    name: str = "generated"
    num_images: int = 400
    num_val_images: int = 100
    seed: int = 0
    held_out_share: float = 0.2
    cache_dir: str | None = None

    def __post_init__(self) -> None:
        _check_integer("num_images", self.num_images, minimum=2)
        _check_integer("num_val_images", self.num_val_images, minimum=0)
        _check_integer("seed", self.seed, minimum=0)
        _check_common(self.name, self.held_out_share, self.cache_dir)


@dataclass(frozen=True, kw_only=True, slots=True)
class CocoDataSettings:
    """Training images and annotations in COCO's format; a data set's validation files have no place here.

    Attributes:
        name: what logs and reports call it.
        train_images: folder of the images.
        train_annotations: its annotation file, as instances_train2017.json.
        held_out_share: expected share of the images that scores are measured on, above 0 and below 1.
        cache_dir: holds the packed images; None is `default_cache_dir`.

    Raises:
        DataError: a value breaks its rule.
    """

    name: str = "coco"
    train_images: str
    train_annotations: str
    held_out_share: float = 0.2
    cache_dir: str | None = None

    def __post_init__(self) -> None:
        _check_path("train_images", self.train_images, "the folder with the training images")
        _check_path("train_annotations", self.train_annotations, "the annotation file of the training images")
        _check_common(self.name, self.held_out_share, self.cache_dir)


DataSettings = GeneratedDataSettings | CocoDataSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class ProxyData:
    """Images and ground truth of a proxy task, at one image size.

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
    progress: Callable[[str, int, int], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> ProxyData:
    """The data of `settings`, generated and packed on the first call and opened from the cache on later ones.

    Args:
        settings: which data.
        image_size: S, pixels; images get this long side.
        progress: called with what is done, how far and out of how many, while there is something to wait for.
        warn: called with one line if boxes of the data set are left out; None logs it. A process says it once
            per data set, to whoever opens it first.

    Raises:
        DataError: the data cannot be used as they are; see `load_coco`, `pack_images`.
    """
    _check_integer("image_size", image_size, minimum=1, group="proxy_task")
    report = progress or (lambda description, done, total: None)
    cache_dir = Path(settings.cache_dir).expanduser() if settings.cache_dir else default_cache_dir()
    if isinstance(settings, GeneratedDataSettings):
        root = generate_dataset(
            cache_dir / "generated",
            num_images=settings.num_images,
            num_val_images=settings.num_val_images,
            seed=settings.seed,
            progress=lambda done, total: report("drawing images", done, total),
        )
        dataset = load_coco(root / "train", root / "annotations" / "instances_train.json")
    else:
        dataset = load_coco(settings.train_images, settings.train_annotations)
    _warn_of_dropped_boxes(dataset, warn or _log.warning)
    held_out = held_out_mask([image.id for image in dataset.images], settings.held_out_share)
    _check_splits(dataset, held_out, settings.held_out_share)
    pack = pack_images(
        dataset, image_size, cache_dir, progress=lambda done, total: report("packing images", done, total)
    )
    boxes, labels = _padded_targets(dataset, pack.scales)
    facts = (PACK_VERSION, dataset.content_key, image_size, float(settings.held_out_share))
    return ProxyData(
        name=settings.name,
        dataset=dataset,
        pack=pack,
        class_names=tuple(name for _, name in dataset.categories),
        train_index=np.flatnonzero(~held_out),
        held_out_index=np.flatnonzero(held_out),
        boxes=boxes,
        labels=labels,
        key=hashlib.blake2b(repr(facts).encode()).hexdigest()[:16],
    )


def _warn_of_dropped_boxes(dataset: CocoDataset, warn: Callable[[str], None]) -> None:
    count = dataset.num_dropped_boxes
    data_set = (dataset.annotations_path.resolve(), dataset.content_key, count)
    if not count or data_set in _warned_of:
        return
    _warned_of.add(data_set)
    boxes = "1 box is" if count == 1 else f"{count} boxes are"
    warn(f"{dataset.annotations_path}: {boxes} left out: empty, not finite or outside the image")


def _padded_targets(
    dataset: CocoDataset, scales: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Boxes [N, M, 4] in packed pixels and labels [N, M] of all objects that are no crowd."""
    wanted = [~crowd for crowd in dataset.is_crowd]
    most = max(int(np.count_nonzero(mask)) for mask in wanted)
    boxes = np.zeros((len(wanted), most, 4), np.float32)
    labels = np.full((len(wanted), most), -1, np.int64)
    for i, mask in enumerate(wanted):
        count = np.count_nonzero(mask)
        boxes[i, :count] = dataset.boxes_xyxy[i][mask] * scales[i]
        labels[i, :count] = dataset.labels[i][mask]
    return boxes, labels


def _check_splits(dataset: CocoDataset, held_out: npt.NDArray[np.bool_], share: float) -> None:
    has_object = np.array([not crowd.all() for crowd in dataset.is_crowd])
    for split, mask in (("training", ~held_out), ("held-out", held_out)):
        if not np.any(has_object & mask):
            raise DataError(
                f"data.held_out_share: with {share} the {split} split has no box to learn from or score on "
                f"({np.count_nonzero(mask)} of {len(mask)} images are in it); change data.held_out_share, or "
                "give more images"
            )


def _check_common(name: object, held_out_share: object, cache_dir: object) -> None:
    if not isinstance(name, str) or not name:
        raise DataError(f"data.name: must be a name, got {name!r}")
    if not isinstance(held_out_share, int | float) or not 0 < held_out_share < 1:
        raise DataError(
            f"data.held_out_share: must be above 0 and below 1, got {held_out_share!r}; the paper has 0.0625"
        )
    if cache_dir is not None and (not isinstance(cache_dir, str) or not cache_dir):
        raise DataError(f"data.cache_dir: must be a folder, or null for the default one, got {cache_dir!r}")


def _check_integer(field: str, value: object, *, minimum: int, group: str = "data") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise DataError(f"{group}.{field}: must be an integer of at least {minimum}, got {value!r}")


def _check_path(field: str, value: object, what: str) -> None:
    if not isinstance(value, str) or not value:
        raise DataError(f"data.{field}: must be {what}, got {value!r}")
