"""COCO detection annotations as flat arrays: as small as they get, and as they lie on disk beside the pack.

Shape letters: N images, n objects of one image, T objects of all images. Boxes are (x1, y1, x2, y2) in
pixels of the original image; (0, 0) is the outer corner of its first pixel.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import SupportsIndex, overload

import numpy as np
import numpy.typing as npt

from spinesearch.data.ragged import Ragged, text_of


@dataclass(frozen=True, kw_only=True, slots=True)
class CocoImage:
    """One image of a data set: its COCO id, its file inside the images folder, its size in pixels."""

    id: int
    file_name: str
    width: int
    height: int


class ImageList(Sequence[CocoImage]):
    """The images of a data set, each made into a `CocoImage` only when it is read.

    Args:
        ids: int64 `[N]`, rising.
        sizes: int64 `[N, 2]`, width and height.
        names: N file names in UTF-8.
        field_texts: N values in UTF-8 of the field of the image records that was requested, empty where a
            record has none; None where none was requested.
    """

    __slots__ = ("field_texts", "ids", "names", "sizes")

    def __init__(
        self,
        ids: npt.NDArray[np.int64],
        sizes: npt.NDArray[np.int64],
        names: Ragged[np.uint8],
        field_texts: Ragged[np.uint8] | None = None,
    ) -> None:
        self.ids = ids
        self.sizes = sizes
        self.names = names
        self.field_texts = field_texts

    def __len__(self) -> int:
        """N."""
        return len(self.ids)

    @overload
    def __getitem__(self, index: SupportsIndex) -> CocoImage: ...
    @overload
    def __getitem__(self, index: slice) -> list[CocoImage]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> CocoImage | list[CocoImage]:
        """Image `index`, which may be negative; a slice gives a list."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        width, height = self.sizes[index].tolist()
        name = text_of(self.names[index])
        return CocoImage(id=int(self.ids[index]), file_name=name, width=width, height=height)

    def select(self, is_wanted: npt.NDArray[np.bool_]) -> ImageList:
        """The images where bool `[N]` says so."""
        texts = None if self.field_texts is None else self.field_texts.select(is_wanted)
        return ImageList(self.ids[is_wanted], self.sizes[is_wanted], self.names.select(is_wanted), texts)


@dataclass(frozen=True, kw_only=True, slots=True)
class CocoDataset:
    """Images and objects of one COCO annotation file. Entry i of a per-image field belongs to `images[i]`.

    Attributes:
        images_dir: the folder that `file_name` is relative to.
        annotations_path: the file all this came from.
        images: by rising id.
        categories: (COCO id, name) by rising id; label k is ``categories[k]``.
        boxes_xyxy: per image float32 [n, 4], clipped to the image, none empty, in the file's order.
        labels: per image int64 [n], 0..K-1.
        is_crowd: per image bool [n]; a crowd box stands for several objects and is no training target.
        area: per image float32 [n], square pixels as the file has it (a mask's area in COCO), else the box's.
        num_dropped_boxes: boxes left out as empty, inverted, not finite or outside their image.
        notes: what was converted and what is odd about the file, a line each.
        masks: of all objects one after the other, the compressed run lengths; None unless requested.
    """

    images_dir: Path
    annotations_path: Path
    images: ImageList
    categories: tuple[tuple[int, str], ...]
    boxes_xyxy: Ragged[np.float32]
    labels: Ragged[np.int64]
    is_crowd: Ragged[np.bool_]
    area: Ragged[np.float32]
    num_dropped_boxes: int
    notes: tuple[str, ...] = ()
    masks: Ragged[np.uint8] | None = None

    def select(self, is_wanted: npt.NDArray[np.bool_]) -> CocoDataset:
        """The data set of the images where bool `[N]` says so, as if the file had no others."""
        is_object_wanted = np.repeat(is_wanted, np.diff(self.labels.offsets))
        return replace(
            self,
            masks=None if self.masks is None else self.masks.select(is_object_wanted),
            images=self.images.select(is_wanted),
            boxes_xyxy=self.boxes_xyxy.select(is_wanted),
            labels=self.labels.select(is_wanted),
            is_crowd=self.is_crowd.select(is_wanted),
            area=self.area.select(is_wanted),
        )


def normal_name(file_name: str) -> str:
    """The one spelling of a file's name inside its folder: ``a.jpg`` for ``./a.jpg`` and ``x/../a.jpg``."""
    return posixpath.normpath(file_name) if "/" in file_name else file_name


def content_key(dataset: CocoDataset, file_bytes: npt.NDArray[np.int64]) -> str:
    """Hash of all that training depends on: every field of the data set, and the length of each image file.

    Where the files lie and when they were written does not count, nor does what the annotation file has
    besides.

    Args:
        dataset: N images.
        file_bytes: `[N]`.
    """
    images = [[i.id, i.file_name, i.width, i.height] for i in dataset.images]
    digest = hashlib.blake2b(json.dumps([images, dataset.categories]).encode())
    for ragged in (dataset.boxes_xyxy, dataset.labels, dataset.is_crowd, dataset.area):
        digest.update(np.ascontiguousarray(ragged.flat).tobytes())
    digest.update(dataset.labels.offsets.tobytes())
    digest.update(np.ascontiguousarray(file_bytes, np.int64).tobytes())
    return digest.hexdigest()[:32]
