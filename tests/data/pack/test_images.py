"""Image files of every kind, made with Pillow or by hand: what becomes of their pixels."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from spinesearch.data.coco.dataset import CocoImage
from spinesearch.data.pack.images import BrokenImage, as_rgb, read_image

GREY = np.tile(np.arange(0, 240, 6, dtype=np.uint8), (30, 1))  # [30, 40]


def read(path: Path, width: int = 40, height: int = 30) -> np.ndarray:
    image = read_image(path.parent, CocoImage(id=1, file_name=path.name, width=width, height=height))
    assert image.mode == "RGB"
    return np.asarray(image)


def exotic_images() -> dict[str, tuple[Image.Image, str, dict[str, object]]]:
    """Images of one grey ramp in many forms: the image, its file's suffix, options for saving."""
    grey = Image.fromarray(GREY)
    alpha = Image.fromarray(np.full_like(GREY, 7))
    rgb = grey.convert("RGB")
    palette = rgb.quantize(64)
    wide = Image.fromarray(GREY.astype(np.uint16) * 256 + 99)
    return {
        "L": (grey, ".png", {}),
        "L jpeg": (grey, ".jpg", {"quality": 100}),
        "LA": (Image.merge("LA", (grey, alpha)), ".png", {}),
        "RGBA": (Image.merge("RGBA", (grey, grey, grey, alpha)), ".png", {}),
        "RGBA webp": (
            Image.merge("RGBA", (grey, grey, grey, alpha)),
            ".webp",
            {"lossless": True, "exact": True},
        ),
        "P": (palette, ".png", {}),
        "P transparent": (palette, ".png", {"transparency": bytes(range(64))}),
        "P gif": (palette, ".gif", {"transparency": 3}),
        "CMYK": (rgb.convert("CMYK"), ".tiff", {}),
        "CMYK jpeg": (rgb.convert("CMYK"), ".jpg", {"quality": 100}),
        "YCbCr": (rgb.convert("YCbCr"), ".tiff", {}),
        "I;16": (wide, ".png", {}),
        "I;16 tiff": (wide, ".tiff", {}),
        "I": (wide, ".pgm", {}),
        "progressive": (rgb, ".jpg", {"quality": 100, "progressive": True}),
    }


@pytest.mark.parametrize("name", exotic_images())
def test_every_kind_of_image_becomes_rgb(tmp_path, name: str) -> None:
    image, suffix, options = exotic_images()[name]
    path = tmp_path / f"image{suffix}"
    image.save(path, **options)
    assert np.abs(read(path).astype(int) - GREY[..., None]).max() <= 6


def test_bilevel_images_become_black_and_white(tmp_path) -> None:
    Image.fromarray(GREY > 99).save(tmp_path / "image.png")
    np.testing.assert_array_equal(read(tmp_path / "image.png")[..., 0], (GREY > 99) * 255)


def test_colours_keep_their_places(tmp_path) -> None:
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[:, :20] = (250, 10, 60)
    pixels[:, 20:] = (20, 200, 90)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "rgb.png")
    image.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    image.quantize(4).save(tmp_path / "palette.gif")
    for name in ("rgb.png", "cmyk.jpg", "palette.gif"):
        assert np.abs(read(tmp_path / name)[:, [5, 35]].astype(int) - pixels[:, [5, 35]]).max() <= 6, name


def test_rgb_of_16_bits_keeps_its_high_bytes(tmp_path) -> None:
    """Pillow writes no such PNG, so it is put together here."""
    high = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    wide = (high.astype(">u2") << 8) + 77

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    content = chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 30, 16, 2, 0, 0, 0))
    content += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "wide.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    np.testing.assert_array_equal(read(tmp_path / "wide.png"), high)


def test_floating_point_pixels_are_refused(tmp_path) -> None:
    Image.fromarray(GREY.astype(np.float32) / 255).save(tmp_path / "image.tiff")
    with pytest.raises(BrokenImage, match=r"cannot be decoded \(its pixels are floating point"):
        read(tmp_path / "image.tiff")
    with pytest.raises(ValueError, match="floating point"):
        as_rgb(Image.fromarray(GREY.astype(np.float32)))


def rotated_file(path: Path, orientation: int, size: tuple[int, int] = (40, 30)) -> np.ndarray:
    """A JPEG with this EXIF orientation whose bright corner is stored top left; its stored pixels."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[: size[1] // 2, : size[0] // 2] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, quality=100, exif=exif)
    return pixels


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_ignored_where_the_annotated_size_is_the_stored_one(
    tmp_path, orientation: int
) -> None:
    pixels = rotated_file(tmp_path / "image.jpg", orientation)
    assert np.abs(read(tmp_path / "image.jpg").astype(int) - pixels).max() < 9


# Where the stored top left corner comes to lie, by EXIF's definition of the orientations that turn.
CORNERS = {5: "top left", 6: "top right", 7: "bottom right", 8: "bottom left"}


@pytest.mark.parametrize("orientation", CORNERS)
def test_exif_rotation_is_applied_where_the_annotated_size_is_the_turned_one(
    tmp_path, orientation: int
) -> None:
    rotated_file(tmp_path / "image.jpg", orientation)
    found = read(tmp_path / "image.jpg", width=30, height=40)
    assert found.shape == (40, 30, 3)
    vertical, horizontal = CORNERS[orientation].split()
    rows = slice(0, 18) if vertical == "top" else slice(22, 40)
    columns = slice(0, 13) if horizontal == "left" else slice(17, 30)
    assert found[rows, columns].min() > 240
    assert found.mean() < 80  # a quarter is bright
    with Image.open(tmp_path / "image.jpg") as image:
        np.testing.assert_array_equal(found, np.asarray(ImageOps.exif_transpose(image)))


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_a_size_that_no_orientation_explains_is_refused(tmp_path, orientation: int) -> None:
    rotated_file(tmp_path / "image.jpg", orientation)
    with pytest.raises(BrokenImage, match=r"is 40 x 30 pixels as stored, the annotations say 30 x 40; cor"):
        read(tmp_path / "image.jpg", width=30, height=40)
    with pytest.raises(BrokenImage, match="the annotations say 41 x 30"):
        read(tmp_path / "image.jpg", width=41, height=30)


def test_a_square_image_is_taken_as_stored(tmp_path) -> None:
    pixels = rotated_file(tmp_path / "image.jpg", 6, size=(40, 40))
    assert np.abs(read(tmp_path / "image.jpg", 40, 40).astype(int) - pixels).max() < 9


def make_jpeg(path: Path) -> bytes:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(path)
    return path.read_bytes()


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_a_truncated_jpeg_is_refused(tmp_path, keep: float) -> None:
    path = tmp_path / "image.jpg"
    whole = make_jpeg(path)
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(BrokenImage, match=r"cannot be decoded \(.*\); replace the file") as error:
        read(path)
    assert "\n" not in str(error.value)


def test_files_that_are_no_images_are_refused_and_say_why(tmp_path) -> None:
    path = tmp_path / "image.jpg"
    with pytest.raises(BrokenImage, match=r"^is missing \(No such file or directory\); fetch it"):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(BrokenImage, match=r"^is empty \(0 bytes\); fetch it again"):
        read(path)
    path.write_bytes(b"<html>404</html>")
    with pytest.raises(BrokenImage, match=r"^is an HTML page.*; download"):
        read(path)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")
    with pytest.raises(BrokenImage, match=r"^is a Git LFS pointer.*; fetch it with git lfs pull"):
        read(path)
    path.write_bytes(b"no image")
    with pytest.raises(BrokenImage, match=r"^cannot be decoded \(of no format that Pillow knows\); replace"):
        read(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(BrokenImage, match=r"^is not a file; give the image file"):
        read(path)
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(BrokenImage, match=r"^is not a file"):
        read(tmp_path / "pipe.jpg")  # opening it would wait for ever
    with pytest.raises(BrokenImage, match=r"^is missing"):
        read_image(tmp_path, CocoImage(id=1, file_name="a\0b.png", width=1, height=1))
    with pytest.raises(BrokenImage, match=r"^is missing"):
        read_image(tmp_path, CocoImage(id=1, file_name="x" * 5000, width=1, height=1))


def test_large_images_are_decoded_up_to_the_limit_and_without_a_warning_of_pillow(
    tmp_path, monkeypatch
) -> None:
    """Warnings are errors in tests; Pillow's limit is as it was afterwards."""
    make_jpeg(tmp_path / "image.jpg")
    image = CocoImage(id=1, file_name="image.jpg", width=40, height=30)
    for pillows_limit in (1000, 100):  # 1,200 pixels: a warning, an error
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillows_limit)
        assert read_image(tmp_path, image, max_megapixels=0.0012).size == (40, 30)
        assert pillows_limit == Image.MAX_IMAGE_PIXELS
    expected = r"^has 40 x 30 pixels, 0\.0 megapixels where data\.max_megapixels is 0\.0011; raise it"
    with pytest.raises(BrokenImage, match=expected):
        read_image(tmp_path, image, max_megapixels=0.0011)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_errors_of_the_system_come_without_their_numbers(tmp_path, monkeypatch) -> None:
    make_jpeg(tmp_path / "image.jpg")
    for error, message in (
        (
            PermissionError(13, "Permission denied", "x"),
            r"^cannot be read \(Permission denied\); make it readable",
        ),
        (
            OSError(5, "Input/output error", "x"),
            r"^cannot be decoded \(Input/output error\); replace the file",
        ),
    ):

        def fail(path: Path, error: OSError = error) -> None:
            raise error

        monkeypatch.setattr(Image, "open", fail)
        with pytest.raises(BrokenImage, match=message):
            read(tmp_path / "image.jpg")
