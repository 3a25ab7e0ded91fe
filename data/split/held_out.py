"""Which images are held out of training to score on.

An image on its own is decided by its id, images that belong together by their group. N images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spinesearch.data.coco.dataset import CocoDataset
from spinesearch.data.errors import DataError

Mask = npt.NDArray[np.bool_]
_MAX_NAMED = 5  # categories

Groups = npt.NDArray[np.uint64]
"""`[N]`: equal numbers for images that belong together, 0 for an image that belongs to none."""


def held_out_mask(image_ids: Sequence[int], share: float, groups: Groups | None = None) -> Mask:
    """Which images are held out of training, bool [N]: about `share` of them.

    An image on its own is decided by its id alone: neither the order nor the presence of other images
    matters. Groups of several images are held out whole, in an order that their numbers decide, as many as
    come nearest to `share` of all images in such groups; if all images are in such groups, at least one group
    is held out and one is not.

    Args:
        image_ids: COCO ids.
        share: expected share held out, above 0 and below 1.
        groups: None is the same as zeros.
    """
    assert 0 < share < 1
    hashes = (hashlib.blake2b(b"%d" % image_id, digest_size=8).digest() for image_id in image_ids)
    mask = np.array([int.from_bytes(value, "big") < share * 2**64 for value in hashes], np.bool_)
    if groups is not None and (is_shared := in_group_of_several(groups)).any():
        mask[is_shared] = _groups_held_out(groups[is_shared], share, are_all=bool(is_shared.all()))
    return mask


def in_group_of_several(groups: Groups) -> Mask:
    """Which images share their group with another, bool [N]."""
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    shared: Mask = (counts[inverse] > 1) & (groups != 0)
    return shared


def _groups_held_out(groups: Groups, share: float, *, are_all: bool) -> Mask:
    """Which images are held out, where each of `groups` has several; see `held_out_mask`."""
    numbers, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    # Numbers are hashes of texts (`groups.py`), so their order is as good as random.
    distance = np.abs(np.concatenate(([0], np.cumsum(counts))) - share * len(groups))
    least, most = (1, len(numbers) - 1) if are_all and len(numbers) > 1 else (0, len(numbers))
    num_held_out = least + int(np.argmin(distance[least : most + 1]))
    held_out: Mask = inverse < num_held_out
    return held_out


def check_split_has_objects(dataset: CocoDataset, held_out: Mask, share: float, groups: Groups) -> None:
    """Raises `DataError` unless both sides of the split have an object to learn from or score on."""
    has_object = _has_object(dataset)
    is_shared = in_group_of_several(groups)
    in_groups, or_rule = "", ""
    if is_shared.any():
        num_parts = len(np.unique(groups[is_shared])) + np.count_nonzero(~is_shared)
        in_groups = " in 1 group" if num_parts == 1 else f" in {num_parts} groups"
        or_rule = " or data.group_by"
    for split, mask in (("training", ~held_out), ("held-out", held_out)):
        if not np.any(has_object & mask):
            raise DataError(
                f"data.held_out_share: with {share} the {split} split has no box to learn from or score on "
                f"({np.count_nonzero(mask)} of {len(mask)} images{in_groups} are in it); change "
                f"data.held_out_share{or_rule}, or give more images"
            )


def check_score_set(train: CocoDataset, score: CocoDataset, setting: str) -> None:
    """Raises `DataError`, which names the setting, unless both have an object, and the same categories."""
    for dataset, use in ((train, "train"), (score, "score")):
        if not _has_object(dataset).any():
            raise DataError(
                f"{dataset.annotations_path}: no image that can be used has a box to {use} on; correct the "
                "images that are left out"
            )
    ours, theirs = dict(train.categories), dict(score.categories)
    differing = [i for i in sorted(ours.keys() | theirs.keys()) if ours.get(i) != theirs.get(i)]
    if differing:
        named = ", ".join(
            f"{i} ({_quoted(ours.get(i))} to train on, {_quoted(theirs.get(i))} to score on)"
            for i in differing[:_MAX_NAMED]
        )
        more = f" and {len(differing) - _MAX_NAMED} more" if len(differing) > _MAX_NAMED else ""
        raise DataError(
            f"{setting}: {score.annotations_path} must have the categories of "
            f"data.train_annotations, but these ids differ: {named}{more}; give both files the same list "
            "'categories'"
        )


def _quoted(name: str | None) -> str:
    return "none" if name is None else repr(name)


def _has_object(dataset: CocoDataset) -> Mask:
    """Which images have an object that is no crowd, bool [N]."""
    num_images = len(dataset.images)
    image_index = np.repeat(np.arange(num_images), np.diff(dataset.labels.offsets))
    has_object = np.zeros(num_images, np.bool_)
    has_object[image_index[~dataset.is_crowd.flat]] = True
    return has_object
