"""Image files as they come, made into 8 bit RGB of the size that the annotations were made for."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from spinesearch.data.coco.dataset import CocoImage
from spinesearch.data.data_settings import DEFAULT_MAX_MEGAPIXELS
from spinesearch.data.file_kind import HEAD_BYTES, kind_of
from spinesearch.data.image_files import opened_image

_FULL_16_BIT = "I;16", "I;16B", "I;16L", "I;16N", "I"  # Pillow's modes; "I" holds 16 bit in some formats


class BrokenImage(Exception):  # noqa: N818 - a state of the file, not a fault of ours
    """An image file cannot be used; the text says why and what to do, in one line without the file's name."""


def read_image(
    images_dir: Path, image: CocoImage, *, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS
) -> Image.Image:
    """The pixels of an image that its boxes belong to, as 8 bit RGB of the annotated width and height.

    COCO's boxes belong to the pixels as stored. So EXIF orientation is applied only where the annotated size
    says that boxes belong to the rotated image: it is not the stored size, and is the stored size turned by
    a quarter. A half turn and a mirror keep the size, and are therefore never applied.

    Raises:
        BrokenImage: there is no such file, it has more pixels than allowed, it cannot be decoded to its end,
            or it has another size than annotated.
    """
    path = images_dir / image.file_name
    annotated = (image.width, image.height)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a name no file can have
        reason = getattr(error, "strerror", None) or str(error)
        raise BrokenImage(f"is missing ({reason}); fetch it, or remove it from the annotations") from error
    try:
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise BrokenImage("is not a file; give the image file, or remove it from the annotations")
        if status.st_size == 0:
            raise BrokenImage("is empty (0 bytes); fetch it again, or remove it from the annotations")
        with opened_image(path) as opened:
            stored = opened.size
            _check_pixels(opened, max_megapixels)
            opened.load()
            pixels = opened if stored == annotated else _as_annotated(opened, annotated)
            return as_rgb(pixels)
    except BrokenImage:
        raise
    except PermissionError as error:
        raise BrokenImage(f"cannot be read ({error.strerror}); make it readable for this user") from error
    except Exception as error:  # Pillow's decoders raise nearly any type on damaged files
        raise BrokenImage(_why_not_decoded(path, error)) from error


def as_rgb(image: Image.Image) -> Image.Image:
    """An image as 8 bit RGB, whatever it holds: grey, palette, CMYK, 16 bit, transparent.

    Transparency is dropped and 16 bit values lose their low byte.

    Raises:
        ValueError: the pixels are floating point, of which no range is agreed.
    """
    if image.mode in _FULL_16_BIT:
        grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode == "F":
        raise ValueError("its pixels are floating point, without an agreed range")
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA").convert("RGB")  # the way that Pillow does not warn about
    return image.convert("RGB")


def shrunk(image: Image.Image, width: int, height: int) -> Image.Image:
    """The image at this size, each pixel a weighted mean over the area it comes from."""
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _why_not_decoded(path: Path, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        with path.open("rb") as file:
            if kind := kind_of(file.read(HEAD_BYTES), wanted="image"):
                return kind
        reason = "of no format that Pillow knows"
    return f"cannot be decoded ({reason}); replace the file or remove it from the annotations"


def _check_pixels(image: Image.Image, max_megapixels: float) -> None:
    if image.width * image.height > 1e6 * max_megapixels:
        raise BrokenImage(
            f"has {image.width} x {image.height} pixels, {image.width * image.height / 1e6:.1f} megapixels "
            f"where data.max_megapixels is {max_megapixels:g}; raise it if memory allows (4 bytes a pixel)"
        )


def _as_annotated(image: Image.Image, annotated: tuple[int, int]) -> Image.Image:
    """The image turned as its EXIF orientation says, if that gives it the annotated size."""
    if image.size[::-1] == annotated:
        turned = ImageOps.exif_transpose(image)
        if turned.size == annotated:
            return turned
    raise BrokenImage(
        f"is {image.width} x {image.height} pixels as stored, the annotations say "
        f"{annotated[0]} x {annotated[1]}; correct width, height and boxes"
    )
