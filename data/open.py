"""Opening the data of a proxy task: settings in, packed images and padded ground truth out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from spinesearch.data.classes.as_coco import as_coco
from spinesearch.data.coco.dataset import CocoDataset
from spinesearch.data.coco.sizes import largest_side
from spinesearch.data.data_settings import (
    ClassDataSettings,
    CocoDataSettings,
    CocoFormSettings,
    DataSettings,
    GeneratedDataSettings,
    check_integer,
)
from spinesearch.data.drawn.generate import generate_dataset
from spinesearch.data.notices import (
    report_groups,
    warn_of_copies,
    warn_of_shared_groups,
    warn_of_what_is_left_out,
)
from spinesearch.data.pack.pack import Pack, open_pack
from spinesearch.data.pack.pack_build import PackSource
from spinesearch.data.pack.pack_masks import pack_masks, read_masked
from spinesearch.data.proxy_data import (
    ProxyData,
    val_data,
    with_held_out_images,
    with_masks,
    with_score_set,
)
from spinesearch.data.sources import cache_dir, group_rule, score_source, train_source, val_source
from spinesearch.data.split.groups import group_images, pack_groups
from spinesearch.data.split.held_out import Groups, check_score_set, check_split_has_objects, held_out_mask
from spinesearch.data.split.overlap import check_no_overlap

__all__ = [
    "ClassDataSettings",
    "CocoDataSettings",
    "DataSettings",
    "GeneratedDataSettings",
    "ProxyData",
    "open_data",
    "open_training_data",
    "open_val_data",
]

_log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with what is done, how far and out of how many, while there is something to wait for."""


def open_data(
    settings: DataSettings,
    *,
    image_size: int,
    masks: bool = False,
    progress: Progress | None = None,
    warn: Callable[[str], None] | None = None,
    report: Callable[[str], None] | None = None,
) -> ProxyData:
    """The data of `settings`, generated and packed on the first call and opened from the cache on later ones.

    Args:
        settings: which data.
        image_size: S, pixels; images get this long side.
        masks: whether a mask model needs them, and with them the objects' masks.
        progress: see `Progress`.
        warn: called with one line if boxes or images of the data set are left out, or if images that are
            scored on are, or look like, training images; None logs it. A process says it once per data set,
            to whoever opens it first.
        report: called with a line before and after something is written (how much, how fast), and once if
            images belong together.

    Raises:
        DataError: the data cannot be used as they are; see `open_pack`.
    """
    check_integer("proxy_task.image_size", image_size, minimum=1)
    opening = _opening(settings, progress, warn, report, "train", masks=masks)
    return opening.open(
        train_source(opening.settings, image_size), score_source(opening.settings, image_size)
    )


def open_training_data(
    settings: DataSettings,
    *,
    pack_size: int,
    image_size: int,
    masks: bool = False,
    progress: Progress | None = None,
    warn: Callable[[str], None] | None = None,
    report: Callable[[str], None] | None = None,
) -> ProxyData:
    """The data of a training: all training images to train on, and the validation images as `score_set`.

    Args:
        settings: which data.
        pack_size: pixels of the packed training images' long side; smaller if the largest image file is, but
            not smaller than `image_size`.
        image_size: the same of the validation images.
        masks: as for `open_data`.
        progress: as for `open_data`.
        warn: as for `open_data`.
        report: as for `open_data`.

    Raises:
        DataError: the data cannot be used as they are, or images are both trained on and validated on, and
            ``data.allow_overlap`` is not set.
    """
    of_folders = isinstance(settings, ClassDataSettings) and settings.val_annotations is None
    opening = replace(
        _opening(settings, progress, warn, report, "train", "val", masks=masks),
        is_training=True,
        score_setting="data.val_images" if of_folders else "data.val_annotations",
    )
    train = train_source(opening.settings, image_size)
    if pack_size > image_size and (largest := largest_side(train.annotations_path)) is not None:
        pack_size = max(image_size, min(pack_size, largest))
    return opening.open(replace(train, image_size=pack_size), val_source(opening.settings, image_size))


def open_val_data(
    settings: DataSettings,
    *,
    image_size: int,
    masks: bool = False,
    check: Callable[[CocoDataset], object] = lambda dataset: None,
    progress: Progress | None = None,
    warn: Callable[[str], None] | None = None,
    report: Callable[[str], None] | None = None,
) -> ProxyData:
    """The validation images alone, all of them to score on; errors and the other arguments as `open_data`'s.

    Args:
        settings: which data.
        image_size: as for `open_data`.
        masks: likewise.
        check: called with the data set before its images are packed; what it raises is raised.
        progress: as for `open_data`.
        warn: likewise.
        report: likewise.
    """
    opening = _opening(settings, progress, warn, report, "val", masks=masks)
    source = val_source(opening.settings, image_size)
    pack = opening.open_pack(source, check)
    data = val_data(opening.settings, pack)
    return with_masks(data, pack_masks(pack, source)) if masks else data


def _opening(
    settings: DataSettings,
    progress: Progress | None,
    warn: Callable[[str], None] | None,
    report: Callable[[str], None] | None,
    *splits: str,
    masks: bool,
) -> _Opening:
    """Whom to report to; data that are to be drawn, and annotations of classes, are there when this returns.

    Args:
        settings: which data.
        progress: as for `open_data`.
        warn: likewise.
        report: likewise.
        *splits: which of them are opened, ``train`` and ``val``.
        masks: as for `open_data`.
    """
    tell = progress or (lambda description, done, total: None)
    if isinstance(settings, GeneratedDataSettings):
        generate_dataset(
            cache_dir(settings) / "generated",
            num_images=settings.num_images,
            num_val_images=settings.num_val_images,
            seed=settings.seed,
            object_sizes=settings.object_sizes,
            progress=lambda done, total: tell("drawing images", done, total),
        )
    if isinstance(settings, ClassDataSettings):
        settings = as_coco(settings, splits, tell)
    return _Opening(
        settings=settings,
        progress=tell,
        warn=warn or _log.warning,
        report=report or (lambda line: None),
        masks=masks,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Opening:
    """Opens data, and reports to whom was named."""

    settings: CocoFormSettings
    progress: Progress
    warn: Callable[[str], None]
    report: Callable[[str], None]
    masks: bool
    is_training: bool = False
    score_setting: str = "data.score_annotations"  # that names the images to score on, for messages

    def open(self, train: PackSource, apart: PackSource | None) -> ProxyData:
        """The data, packed, grouped, split and checked.

        Args:
            train: what to train on.
            apart: what to score on; None to hold training images out.
        """
        rule = group_rule(self.settings)
        known: dict[int, int] = {}
        score = self.open_pack(apart, lambda dataset: None) if apart else None

        def check(dataset: CocoDataset) -> None:
            """So that hours of packing are not spent on data that are refused after."""
            groups = group_images(rule, dataset.images)
            known.update(zip(dataset.images.ids.tolist(), groups.tolist(), strict=True))
            self._check(dataset, groups, score)

        pack = self.open_pack(train, check)
        groups = pack_groups(pack, rule, known)
        self._check(pack.dataset, groups, score)
        if score is None:
            report_groups(pack, rule, groups, self.report, self.warn)
            data = with_held_out_images(self.settings, train.image_size, pack, groups)
        else:
            others = pack_groups(score, rule, {}, must_apply=False)
            warn_of_shared_groups(pack, score, (groups, others), self.warn)
            data = with_score_set(self.settings, train.image_size, pack, score)
        if isinstance(self.settings, CocoDataSettings):
            warn_of_copies(
                (pack, data.train_index),
                (score or pack, data.scored.held_out_index),
                warn=self.warn,
                progress=lambda done, total: self.progress("looking for copies", done, total),
            )
        if self.masks:
            score_masks = pack_masks(score, apart) if score is not None and apart is not None else None
            data = with_masks(data, pack_masks(pack, train), score_masks)
        return data

    def open_pack(self, source: PackSource, check: Callable[[CocoDataset], object]) -> Pack:
        """A pack, and what is odd about its data said."""

        def checked(dataset: CocoDataset) -> None:
            check(dataset)
            if self.masks:
                read_masked(source)

        pack = open_pack(
            source,
            cache_dir(self.settings),
            check=checked,
            progress=lambda done, total: self.progress("packing images", done, total),
            report=self.report,
        )
        warn_of_what_is_left_out(pack, self.warn)
        return pack

    def _check(self, dataset: CocoDataset, groups: Groups, score: Pack | None) -> None:
        """Raises `DataError` if these data cannot be trained and scored on."""
        if score is None:
            share = self.settings.held_out_share
            held_out = held_out_mask(dataset.images.ids.tolist(), share, groups)
            check_split_has_objects(dataset, held_out, share, groups)
        else:
            check_score_set(dataset, score.dataset, self.score_setting)
            if (
                self.is_training
                and isinstance(self.settings, CocoDataSettings)  # what is drawn has no image twice
                and not self.settings.allow_overlap
            ):
                check_no_overlap(dataset, score.dataset, self.score_setting)
