"""How packed images lie on disk: as raw pixels, or as JPEGs that are decoded batch by batch.

Shape letters: N images, B images of a batch, S side of the packed square in pixels. An image lies in the top
left corner of its square, its long side S; the rest is zero.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from spinesearch.data.data_settings import DataSettings
from spinesearch.data.pack.array_folder import open_array, save_array
from spinesearch.data.pack.jpegs import JpegImages
from spinesearch.data.ragged import offsets_of

_RAW_FILE, _JPEG_FILE, _JPEG_OFFSETS = "images.raw", "images.jpegs", "jpeg_offsets"
# Chroma in full: on COCO's photos, quality 90 with it has fewer bytes and less error than quality 95 with
# chroma halved, as is Pillow's default (docs/data.md).
_FULL_CHROMA = 0
DEFAULT_JPEG_QUALITY = 90


class PackedImages(Protocol):
    """uint8 `[N, S, S, 3]`, RGB, read-only. A NumPy array is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, S, S, 3)."""

    def __getitem__(self, index: npt.NDArray[np.int64], /) -> npt.NDArray[np.uint8]:
        """The images `[B, S, S, 3]` at these positions, `[B]`."""


class Storage(Protocol):
    """A way to store images; `write` and `open` are each other's inverse, up to what `encode` loses."""

    @property
    def label(self) -> str:
        """What distinguishes packs of unequal pixels; part of their keys."""

    def encode(self, image: Image.Image, side: int) -> bytes:
        """What is stored of an RGB image whose long side is S; called from many threads."""

    def write(self, folder: Path, encoded: Iterable[bytes]) -> None:
        """Writes the encoded images, in their order, into the folder and onto the disk."""

    def open(self, folder: Path, num_images: int, side: int) -> PackedImages:
        """The images of a folder that `write` has filled, paged in from disk as they are read."""


class RawStorage:
    """Every pixel as it is: ``S * S * 3`` bytes per image, and nothing to decode."""

    label = "raw"

    def encode(self, image: Image.Image, side: int) -> bytes:
        """The square's pixels."""
        square = np.zeros((side, side, 3), np.uint8)
        square[: image.height, : image.width] = np.asarray(image)
        return square.tobytes()

    def write(self, folder: Path, encoded: Iterable[bytes]) -> None:
        """One file of all images."""
        _append(folder / _RAW_FILE, encoded)

    def open(self, folder: Path, num_images: int, side: int) -> PackedImages:
        """The file as an array."""
        return np.memmap(folder / _RAW_FILE, np.uint8, mode="r", shape=(num_images, side, side, 3))


class JpegStorage:
    """A JPEG per image, without the padding: about a thirteenth of the raw bytes for photos at quality 90.

    Args:
        quality: Pillow's, 1 to 100.
    """

    def __init__(self, quality: int) -> None:
        self._quality = quality

    @property
    def label(self) -> str:
        """With the quality, as the pixels depend on it."""
        return f"jpeg{self._quality}"

    def encode(self, image: Image.Image, side: int) -> bytes:
        """The JPEG."""
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=self._quality, subsampling=_FULL_CHROMA)
        return buffer.getvalue()

    def write(self, folder: Path, encoded: Iterable[bytes]) -> None:
        """All JPEGs in one file, and where each begins in another."""
        save_array(folder, _JPEG_OFFSETS, offsets_of(_append(folder / _JPEG_FILE, encoded)))

    def open(self, folder: Path, num_images: int, side: int) -> PackedImages:
        """Images that are decoded when they are read."""
        offsets = open_array(folder, _JPEG_OFFSETS)
        return JpegImages(np.memmap(folder / _JPEG_FILE, np.uint8, mode="r"), offsets, side)


def storage_of(settings: DataSettings) -> Storage:
    """The storage that data settings ask for."""
    return JpegStorage(settings.jpeg_quality) if settings.storage == "jpeg" else RawStorage()


def _append(path: Path, encoded: Iterable[bytes]) -> list[int]:
    """Writes the parts one after the other into a new file and onto the disk; their lengths.

    Written, not mapped: a full disk then is an `OSError`, while a mapped page without room kills the process.
    """
    lengths = []
    with open(path, "wb") as file:
        for part in encoded:
            file.write(part)
            lengths.append(len(part))
        file.flush()
        os.fsync(file.fileno())
    return lengths
