"""Where the data of some settings lie: their cache, what is packed of them, how their images are grouped."""

from __future__ import annotations

from pathlib import Path

from spinesearch.data.cache import default_cache_dir
from spinesearch.data.data_settings import (
    CocoDataSettings,
    CocoFormSettings,
    DataSettings,
    GeneratedDataSettings,
)
from spinesearch.data.drawn.generate import generated_folder
from spinesearch.data.errors import DataError
from spinesearch.data.pack.pack_build import PackSource
from spinesearch.data.pack.storage import storage_of
from spinesearch.data.split.group_rule import GroupRule, parse_group_by


def cache_dir(settings: DataSettings) -> Path:
    """The folder of all that is made from a data set and can be made again."""
    return Path(settings.cache_dir).expanduser() if settings.cache_dir else default_cache_dir()


def group_rule(settings: CocoFormSettings) -> GroupRule:
    """What says which images belong together; no two of those that are drawn do."""
    return (
        parse_group_by(settings.group_by) if isinstance(settings, CocoDataSettings) else GroupRule(kind="id")
    )


def train_source(settings: CocoFormSettings, image_size: int) -> PackSource:
    """The images to train on, some of which may be held out."""
    if isinstance(settings, CocoDataSettings):
        return _coco_source(settings, image_size, "train", settings.train_annotations)
    return _generated_source(settings, image_size, "train")


def score_source(settings: CocoFormSettings, image_size: int) -> PackSource | None:
    """The images that are scored on instead of held-out ones; None if there are none."""
    if isinstance(settings, GeneratedDataSettings) or settings.score_annotations is None:
        return None
    return _coco_source(settings, image_size, "score", settings.score_annotations)


def val_source(settings: CocoFormSettings, image_size: int) -> PackSource:
    """The images that a training validates on, and that no search reads.

    Raises:
        DataError: the settings name none.
    """
    if isinstance(settings, GeneratedDataSettings):
        if settings.num_val_images == 0:
            raise DataError("data.num_val_images: must be at least 1 to validate on, got 0")
        return _generated_source(settings, image_size, "val")
    if settings.val_annotations is None:
        raise DataError(
            "data.val_annotations: must be given, the annotation file of the images to validate on; add "
            "data.val_annotations=..., and data.val_images=... if they lie in another folder"
        )
    return _coco_source(settings, image_size, "val", settings.val_annotations)


def _generated_source(settings: GeneratedDataSettings, image_size: int, split: str) -> PackSource:
    root = generated_folder(
        cache_dir(settings) / "generated",
        num_images=settings.num_images,
        num_val_images=settings.num_val_images,
        seed=settings.seed,
        object_sizes=settings.object_sizes,
    )
    return PackSource(
        images_dir=root / split,
        annotations_path=root / "annotations" / f"instances_{split}.json",
        image_size=image_size,
        storage=storage_of(settings),
    )


def _coco_source(settings: CocoDataSettings, image_size: int, use: str, annotations: str) -> PackSource:
    """The images of a use, which lie in a folder of their own or in that of the training images."""
    setting = f"{use}_images"
    if getattr(settings, setting) is None:
        setting = "train_images"
    return PackSource(
        images_dir=Path(getattr(settings, setting)).expanduser(),
        annotations_path=Path(annotations).expanduser(),
        image_size=image_size,
        storage=storage_of(settings),
        skip_broken=settings.skip_broken,
        box_format=settings.box_format,
        max_megapixels=settings.max_megapixels,
        image_field=group_rule(settings).record_field,
        images_setting=f"data.{setting}",
    )
