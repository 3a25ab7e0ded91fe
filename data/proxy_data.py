"""`ProxyData`: what a proxy task trains and is scored on, made of packs, with the key that identifies it.

Shape letters: N images, M objects of the image that has most. Boxes are (x1, y1, x2, y2).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from spinesearch.data.coco.dataset import CocoDataset
from spinesearch.data.data_settings import CocoFormSettings
from spinesearch.data.pack.pack import ImagePack, Pack
from spinesearch.data.pack.pack_build import PACK_VERSION
from spinesearch.data.pack.pack_masks import masks_digest
from spinesearch.data.pack.storage import storage_of
from spinesearch.data.ragged import Ragged
from spinesearch.data.sources import group_rule
from spinesearch.data.split.held_out import Groups, held_out_mask

SCORED_APART = "score_annotations"
_NONE = np.zeros(0, np.int64)


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
        key: content key: equal for two workers exactly when they train and score on the same data. What is
            drawn keeps the key of the process that began the run.
        split_by: what decides which images are scored on: ``data.group_by``, or `SCORED_APART`.
        score_set: data of their own to score on: all its images are held out, and none of this one's.
        masks: of all objects of the dataset one after the other, compressed run lengths; of data that were
            opened for a mask model, else None.
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
    split_by: str
    score_set: ProxyData | None = None
    masks: Ragged[np.uint8] | None = None

    @property
    def num_classes(self) -> int:
        """K, the number of categories of the file, used or not."""
        return len(self.class_names)

    @property
    def scored(self) -> ProxyData:
        """The data whose `held_out_index` is scored on: these, or the `score_set`."""
        return self.score_set or self

    def scored_on(self, held_out_index: npt.NDArray[np.int64]) -> ProxyData:
        """The same data, scored on these images of `scored` alone."""
        scored = replace(self.scored, held_out_index=held_out_index)
        return scored if self.score_set is None else replace(self, score_set=scored)

    def with_key(self, key: str) -> ProxyData:
        """The same data under the key that they have elsewhere."""
        return replace(self, key=key, score_set=self.score_set and self.score_set.with_key(key))

    def with_merged_classes(self) -> ProxyData:
        """The same images with objects of one class, ``object``; the key stays that of the data."""
        dataset = replace(
            self.dataset,
            categories=((1, "object"),),
            labels=Ragged(np.zeros_like(self.dataset.labels.flat), self.dataset.labels.offsets),
        )
        return replace(
            self,
            dataset=dataset,
            class_names=("object",),
            labels=np.minimum(self.labels, 0),
            score_set=self.score_set and self.score_set.with_merged_classes(),
        )


def with_held_out_images(
    settings: CocoFormSettings, image_size: int, pack: Pack, groups: Groups
) -> ProxyData:
    """A data set some of whose images are held out, those of one group together."""
    ids, share = pack.dataset.images.ids.tolist(), settings.held_out_share
    mask, mask_by_id = held_out_mask(ids, share, groups), held_out_mask(ids, share)
    facts: tuple[object, ...] = (*_facts(settings, image_size, pack), float(share))
    if not np.array_equal(mask, mask_by_id):  # else the key is that of the releases that knew no groups
        facts += (hashlib.blake2b(np.packbits(mask).tobytes()).hexdigest(),)
    return _proxy_data(
        settings,
        pack,
        np.flatnonzero(~mask),
        np.flatnonzero(mask),
        key=_key(facts),
        split_by=str(group_rule(settings)),
    )


def with_score_set(settings: CocoFormSettings, image_size: int, pack: Pack, score: Pack) -> ProxyData:
    """A data set all of which is trained on, and another to score on."""
    key = _key((*_facts(settings, image_size, pack), SCORED_APART, score.content_key))
    scored = _proxy_data(settings, score, _NONE, _all_of(score), key=key, split_by=SCORED_APART)
    data = _proxy_data(settings, pack, _all_of(pack), _NONE, key=key, split_by=SCORED_APART)
    return replace(data, score_set=scored)


def val_data(settings: CocoFormSettings, pack: Pack) -> ProxyData:
    """A data set that is only scored on."""
    key = _key((PACK_VERSION, pack.content_key, pack.images.images.shape[1], storage_of(settings).label))
    return _proxy_data(settings, pack, _NONE, _all_of(pack), key=key, split_by=SCORED_APART)


def with_masks(
    data: ProxyData, masks: Ragged[np.uint8], score_masks: Ragged[np.uint8] | None = None
) -> ProxyData:
    """The same data with the masks of their objects, under a key of their own.

    Args:
        data: opened without.
        masks: of its dataset.
        score_masks: of the dataset of its `score_set`.
    """
    all_masks = (masks,) if score_masks is None else (masks, score_masks)
    key = _key((data.key, *map(masks_digest, all_masks)))
    score_set = data.score_set
    if score_set is not None:
        score_set = replace(score_set, masks=score_masks, key=key)
    return replace(data, masks=masks, key=key, score_set=score_set)


def _proxy_data(
    settings: CocoFormSettings,
    pack: Pack,
    train_index: npt.NDArray[np.int64],
    held_out_index: npt.NDArray[np.int64],
    *,
    key: str,
    split_by: str,
) -> ProxyData:
    return ProxyData(
        name=settings.name,
        dataset=pack.dataset,
        pack=pack.images,
        class_names=tuple(name for _, name in pack.dataset.categories),
        train_index=train_index,
        held_out_index=held_out_index,
        boxes=pack.boxes,
        labels=pack.labels,
        key=key,
        split_by=split_by,
    )


def _all_of(pack: Pack) -> npt.NDArray[np.int64]:
    return np.arange(len(pack.dataset.images))


def _facts(settings: CocoFormSettings, image_size: int, pack: Pack) -> tuple[object, ...]:
    return PACK_VERSION, pack.content_key, image_size, storage_of(settings).label


def _key(facts: tuple[object, ...]) -> str:
    return hashlib.blake2b(repr(facts).encode()).hexdigest()[:16]
