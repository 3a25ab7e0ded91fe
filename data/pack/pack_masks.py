"""The masks of a pack's objects, in files beside it that models of boxes alone never read."""

from __future__ import annotations

import hashlib

import numpy as np

from spinesearch.data.coco.dataset import CocoDataset
from spinesearch.data.coco.read import read_coco
from spinesearch.data.errors import DataError
from spinesearch.data.pack.array_folder import add_array, added_array
from spinesearch.data.pack.pack import Pack
from spinesearch.data.pack.pack_build import PackSource
from spinesearch.data.ragged import Ragged

_BYTES, _OFFSETS = "mask_bytes", "mask_offsets"


def pack_masks(pack: Pack, source: PackSource) -> Ragged[np.uint8]:
    """The compressed run lengths of every object of a pack, in the order of its dataset's objects.

    They are read from the annotations once, and from then on from beside the pack.

    Args:
        pack: packed from the source.
        source: where its annotations are.

    Raises:
        DataError: the annotations cannot be read, or objects have no mask or one that is none.
    """
    num_objects = len(pack.dataset.labels.flat)
    flat, offsets = added_array(pack.folder, _BYTES), added_array(pack.folder, _OFFSETS)
    if (
        flat is not None
        and offsets is not None
        and len(offsets) == num_objects + 1
        and offsets[-1] == len(flat)
    ):
        return Ragged(flat, offsets)
    dataset = read_masked(source)
    dataset = dataset.select(np.isin(dataset.images.ids, pack.dataset.images.ids))
    if not np.array_equal(dataset.boxes_xyxy.flat, pack.dataset.boxes_xyxy.flat):
        raise DataError(f"{source.annotations_path}: has changed since it was packed; run the command again")
    assert dataset.masks is not None
    add_array(pack.folder, _BYTES, dataset.masks.flat)
    add_array(pack.folder, _OFFSETS, dataset.masks.offsets)
    return dataset.masks


def read_masked(source: PackSource) -> CocoDataset:
    """The data set of a source with the masks of its objects.

    Raises:
        DataError: as `read_coco`.
    """
    return read_coco(
        source.images_dir, source.annotations_path, box_format=source.box_format, with_masks=True
    )


def masks_digest(masks: Ragged[np.uint8]) -> str:
    """Equal for equal masks, whatever form the annotation file has them in."""
    digest = hashlib.blake2b(np.ascontiguousarray(masks.offsets).tobytes())
    digest.update(np.ascontiguousarray(masks.flat).tobytes())
    return digest.hexdigest()[:32]
