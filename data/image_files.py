"""Image files opened without Pillow's own limit on pixels, which prints a warning and knows no setting."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from PIL import Image

# Of files that are looked at where a folder of images is given.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_ORIENTATION = 0x0112  # EXIF
_QUARTER_TURNS = (5, 6, 7, 8)


class StoredSize(NamedTuple):
    """Width and height of an image as stored; whether its EXIF orientation turns it by a quarter."""

    width: int
    height: int
    is_turned: bool


class _PixelLimit:
    """Pillow's `MAX_IMAGE_PIXELS`, taken away while any thread opens an image and given back after it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_users = 0
        self._limit: int | None = None

    @contextmanager
    def lifted(self) -> Iterator[None]:
        with self._lock:
            if self._num_users == 0:
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._num_users += 1
        try:
            yield
        finally:
            with self._lock:
                self._num_users -= 1
                if self._num_users == 0:
                    Image.MAX_IMAGE_PIXELS = self._limit


_pixel_limit = _PixelLimit()


@contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """The image, its header read and its pixels not yet; whatever its size, which the caller has to judge."""
    with _pixel_limit.lifted(), Image.open(path) as image:
        yield image


def stored_size(path: Path) -> StoredSize | None:
    """The size in an image file's header; None if the file cannot be opened as an image."""
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            return None
        with opened_image(path) as image:
            return StoredSize(image.width, image.height, orientation_of(image) in _QUARTER_TURNS)
    except Exception:  # Pillow raises nearly any type on damaged files
        return None


def orientation_of(image: Image.Image) -> int:
    """EXIF's orientation of an opened image, 1 to 8; 1 (as stored) where it has none."""
    # Where a PNG has none, asking for it would decode the whole image.
    if image.format != "TIFF" and "exif" not in image.info:
        return 1
    found = image.getexif().get(_ORIENTATION)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1
