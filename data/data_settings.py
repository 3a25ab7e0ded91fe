"""Which data a proxy task trains on: what is in ``conf/data``. No torch here, and no numpy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from spinesearch.data.errors import DataError
from spinesearch.data.split.group_rule import parse_group_by

STORAGES = ("raw", "jpeg")
OBJECT_SIZES = ("narrow", "wide", "small", "medium", "large")  # what `spinesearch.data.drawn` draws
BOX_FORMATS = ("xywh", "xyxy", "cxcywh", "xywh_normalized", "xyxy_normalized", "cxcywh_normalized")
DEFAULT_BOX_FORMAT = "xywh"
DEFAULT_MAX_MEGAPIXELS = 179.0  # where Pillow, by default, refuses an image as a decompression bomb


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratedDataSettings:
    """A data set the tool draws itself, see `generate`; needs no download.

    Attributes:
        name: what logs and reports call it.
        num_images: training images, at least 2; held-out images come from these.
        num_val_images: images of the val split; no search reads them, they are for training its result.
        seed: two seeds give two data sets of one kind.
        object_sizes: one of `OBJECT_SIZES`. Runs begun before there was a choice have narrow ones.
        held_out_share: expected share of the training images that scores are measured on, in (0, 1).
        storage: one of `STORAGES`, how the packed images lie on disk.
        jpeg_quality: Pillow's, 1 to 100; raw storage has no use for it.
        cache_dir: holds the images and their pack; None is `default_cache_dir`.

    Raises:
        DataError: a value breaks its rule.
    """

    name: str = "generated"
    num_images: int = 400
    num_val_images: int = 100
    seed: int = 0
    object_sizes: str = "narrow"
    held_out_share: float = 0.2
    storage: str = "raw"
    jpeg_quality: int = 90
    cache_dir: str | None = None

    def __post_init__(self) -> None:
        check_integer("data.num_images", self.num_images, minimum=2)
        check_integer("data.num_val_images", self.num_val_images, minimum=0)
        check_integer("data.seed", self.seed, minimum=0)
        if self.object_sizes not in OBJECT_SIZES:
            raise DataError(
                f"data.object_sizes: must be one of {', '.join(OBJECT_SIZES)}, got {self.object_sizes!r}"
            )
        _check_common(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class CocoDataSettings:
    """Training images and annotations in COCO's format, some of whose images are held out to score on.

    Attributes:
        name: what logs and reports call it.
        train_images: folder of the images.
        train_annotations: its annotation file, as instances_train2017.json.
        score_images: folder of other images to score on; None is that of the training images.
        score_annotations: their annotation file; None holds training images out, else none is.
        val_images: folder of the validation images of a training; None is that of the training images. No
            search reads these.
        val_annotations: their annotation file, which a training needs.
        allow_overlap: whether a training may validate on images that it trains on.
        held_out_share: expected share of the images that scores are measured on, above 0 and below 1.
        group_by: which images stay on one side of the split, see `parse_group_by`.
        skip_broken: leave out images whose file cannot be used, instead of refusing the data set.
        box_format: one of `BOX_FORMATS`, what the four numbers of a `bbox` are.
        max_megapixels: images of more are not decoded but refused as broken; millions of pixels.
        storage: one of `STORAGES`, how the packed images lie on disk.
        jpeg_quality: Pillow's, 1 to 100; raw storage has no use for it.
        cache_dir: holds the packed images; None is `default_cache_dir`.

    Raises:
        DataError: a value breaks its rule.
    """

    name: str = "coco"
    train_images: str
    train_annotations: str
    score_images: str | None = None
    score_annotations: str | None = None
    val_images: str | None = None
    val_annotations: str | None = None
    allow_overlap: bool = False
    held_out_share: float = 0.2
    group_by: str = "picture"
    skip_broken: bool = False
    box_format: str = DEFAULT_BOX_FORMAT
    max_megapixels: float = DEFAULT_MAX_MEGAPIXELS
    storage: str = "raw"
    jpeg_quality: int = 90
    cache_dir: str | None = None

    def __post_init__(self) -> None:
        for field, what in (
            ("train_images", "the folder with the training images"),
            ("train_annotations", "the annotation file of the training images"),
        ):
            value = getattr(self, field)
            if not isinstance(value, str) or not value:
                raise DataError(f"data.{field}: must be {what}, got {value!r}")
        _check_files(self, ("score_images", "score_annotations", "val_images", "val_annotations"))
        for use in ("score", "val"):
            images = getattr(self, f"{use}_images")
            if images is not None and getattr(self, f"{use}_annotations") is None:
                raise DataError(
                    f"data.{use}_images: needs the annotations of these images, got {images!r} alone; "
                    f"add data.{use}_annotations=..."
                )
        parse_group_by(self.group_by)
        if self.box_format not in BOX_FORMATS:
            raise DataError(
                f"data.box_format: must be one of {', '.join(BOX_FORMATS)}, got {self.box_format!r}"
            )
        _check_common(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassDataSettings:
    """Images of one class each, to train and score classifiers on.

    Attributes:
        name: what logs and reports call it.
        train_images: folder with a folder of images for each class; with `train_annotations` the folder that
            its file names are relative to.
        train_annotations: a file of iNaturalist's form, which names the class of each image; None for class
            folders.
        val_images: the same for the validation images of a training. No search reads these.
        val_annotations: likewise.
        allow_overlap: this and the rest are as in `CocoDataSettings`.
        held_out_share: see there.
        skip_broken: see there.
        max_megapixels: see there.
        storage: see there.
        jpeg_quality: see there.
        cache_dir: see there.

    Raises:
        DataError: a value breaks its rule.
    """

    name: str = "classes"
    train_images: str
    train_annotations: str | None = None
    val_images: str | None = None
    val_annotations: str | None = None
    allow_overlap: bool = False
    held_out_share: float = 0.2
    skip_broken: bool = False
    max_megapixels: float = DEFAULT_MAX_MEGAPIXELS
    storage: str = "raw"
    jpeg_quality: int = 90
    cache_dir: str | None = None

    def __post_init__(self) -> None:
        images: object = self.train_images
        if not isinstance(images, str) or not images:
            raise DataError(f"data.train_images: must be the folder of the class folders, got {images!r}")
        _check_files(self, ("train_annotations", "val_images", "val_annotations"))
        _check_common(self)


CocoFormSettings = GeneratedDataSettings | CocoDataSettings
"""Settings of data that lie in COCO's form."""
DataSettings = CocoFormSettings | ClassDataSettings


def check_integer(setting: str, value: object, *, minimum: int, maximum: int | None = None) -> None:
    """Raises `DataError` unless the value of this setting (its full name) is an integer within its range."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if is_integer and minimum <= value and (maximum is None or value <= maximum):  # type: ignore[operator]
        return
    rule = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
    raise DataError(f"{setting}: must be an integer {rule}, got {value!r}")


def _check_files(settings: CocoDataSettings | ClassDataSettings, paths: tuple[str, ...]) -> None:
    """Check the settings of data that lie in files: these paths, which may be null, and how they are read."""
    for field in paths:
        value = getattr(settings, field)
        if value is not None and (not isinstance(value, str) or not value):
            raise DataError(f"data.{field}: must be a path or null, got {value!r}")
    for field in ("skip_broken", "allow_overlap"):
        if not isinstance(getattr(settings, field), bool):
            raise DataError(f"data.{field}: must be true or false, got {getattr(settings, field)!r}")
    limit: object = settings.max_megapixels
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit < math.inf:
        raise DataError(f"data.max_megapixels: must be a positive number, got {limit!r}")


def _check_common(settings: DataSettings) -> None:
    name: object = settings.name
    share: object = settings.held_out_share
    cache_dir: object = settings.cache_dir
    if not isinstance(name, str) or not name:
        raise DataError(f"data.name: must be a name, got {name!r}")
    if not isinstance(share, int | float) or not 0 < share < 1:
        raise DataError(
            f"data.held_out_share: must be above 0 and below 1, got {share!r}; the paper has 0.0625"
        )
    if settings.storage not in STORAGES:
        raise DataError(f"data.storage: must be one of {', '.join(STORAGES)}, got {settings.storage!r}")
    check_integer("data.jpeg_quality", settings.jpeg_quality, minimum=1, maximum=100)
    if cache_dir is not None and (not isinstance(cache_dir, str) or not cache_dir):
        raise DataError(f"data.cache_dir: must be a folder, or null for the default one, got {cache_dir!r}")
