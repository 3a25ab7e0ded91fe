"""Whether images that are validated on are trained on too."""

from __future__ import annotations

import os
from collections.abc import Iterator

from spinesearch.data.coco.dataset import CocoDataset, CocoImage, normal_name
from spinesearch.data.errors import DataError

_NUM_NAMED = 3  # images that the message names


def check_no_overlap(train: CocoDataset, val: CocoDataset, setting: str) -> None:
    """Returns if no image of one data set is an image of the other.

    The same image is the same file, or one of the same id, the same name and as many bytes: ids and names
    alone are the same in the two splits of many an export, whose pictures are different ones.

    Args:
        train: trained on.
        val: validated on.
        setting: that names it, for the message.

    Raises:
        DataError: there are such; the message names the first.
    """
    found = list(_shared(train, val))
    if not found:
        return
    named = ", ".join(f"{image.file_name} (id {image.id})" for image in found[:_NUM_NAMED])
    more = f" and {len(found) - _NUM_NAMED} more" if len(found) > _NUM_NAMED else ""
    raise DataError(
        f"{setting}: {len(found)} of {len(val.images)} images to validate on are trained on too: "
        f"{named}{more}; give another split, or set data.allow_overlap=true"
    )


def _shared(train: CocoDataset, val: CocoDataset) -> Iterator[CocoImage]:
    """The images of `val` that are images of `train`."""
    by_name = {normal_name(image.file_name): image for image in train.images}
    is_one_folder = os.path.realpath(train.images_dir) == os.path.realpath(val.images_dir)
    for image in val.images:
        twin = by_name.get(normal_name(image.file_name))
        if twin is None:
            continue
        if is_one_folder or (twin.id == image.id and _same_length(train, twin, val, image)):
            yield image


def _same_length(train: CocoDataset, twin: CocoImage, val: CocoDataset, image: CocoImage) -> bool:
    """Whether two image files are there and have as many bytes."""
    try:
        one, other = (train.images_dir / twin.file_name).stat(), (val.images_dir / image.file_name).stat()
    except (OSError, ValueError):  # reported by what reads the pixels
        return False
    return one.st_size == other.st_size
