"""Raw and JPEG storage: what goes in comes out, by either decoder, on one thread or many."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spinesearch.data.data_settings import GeneratedDataSettings
from spinesearch.data.errors import DataError
from spinesearch.data.pack import jpegs
from spinesearch.data.pack.jpegs import JpegImages, decode_by_pillow
from spinesearch.data.pack.storage import JpegStorage, PackedImages, RawStorage, Storage, storage_of

SIDE = 48


def smooth_images(count: int, seed: int = 0) -> list[Image.Image]:
    """Colourful images of many shapes that JPEGs can hold, one side of each SIDE."""
    rng = np.random.default_rng(seed)
    images = []
    for i in range(count):
        short = int(rng.integers(1, SIDE + 1))
        size = (SIDE, short) if i % 2 else (short, SIDE)
        coarse = Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8))
        images.append(coarse.resize(size, Image.Resampling.BICUBIC))
    return images


def stored(storage: Storage, folder: Path, images: list[Image.Image]) -> PackedImages:
    folder.mkdir()
    storage.write(folder, (storage.encode(image, SIDE) for image in images))
    return storage.open(folder, len(images), SIDE)


def squares(images: list[Image.Image]) -> np.ndarray:
    out = np.zeros((len(images), SIDE, SIDE, 3), np.uint8)
    for square, image in zip(out, images, strict=True):
        square[: image.height, : image.width] = np.asarray(image)
    return out


def test_raw_pixels_come_back_as_they_were(tmp_path) -> None:
    images = smooth_images(9)
    packed = stored(RawStorage(), tmp_path / "raw", images)
    assert packed.shape == (9, SIDE, SIDE, 3)
    np.testing.assert_array_equal(packed[np.arange(9)], squares(images))


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_jpegs_come_back_close_in_any_order_and_on_any_number_of_threads(tmp_path, threads: int) -> None:
    images = smooth_images(30)
    packed = stored(JpegStorage(95), tmp_path / "jpeg", images)
    assert packed.shape == (30, SIDE, SIDE, 3)
    expected = squares(images).astype(int)
    rng = np.random.default_rng(1)
    for size in (1, 2, 5, 40):
        index = rng.integers(0, 30, size)
        batch = np.full((size, SIDE, SIDE, 3), 7, np.uint8)
        packed.read(index, batch, num_threads=threads)
        np.testing.assert_array_equal(batch, packed[index])
        assert np.abs(batch - expected[index]).max() < 40
        assert np.abs(batch - expected[index]).mean() < 1.5
        for row, i in enumerate(index):  # what lies outside the image is zero to the bit
            width, height = images[i].size
            assert not batch[row, height:].any()
            assert not batch[row, :, width:].any()
    assert packed[np.array([], np.int64)].shape == (0, SIDE, SIDE, 3)
    np.testing.assert_array_equal(packed[3], packed[np.array([3])][0])


def test_quality_decides_the_bytes_and_the_error(tmp_path) -> None:
    images = smooth_images(20)
    sizes, errors = [], []
    for quality in (30, 60, 90, 100):
        folder = tmp_path / str(quality)
        packed = stored(JpegStorage(quality), folder, images)
        sizes.append((folder / "images.jpegs").stat().st_size)
        errors.append(np.abs(packed[np.arange(20)] - squares(images).astype(int)).mean())
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.7


def test_colour_keeps_its_resolution(tmp_path) -> None:
    """Columns of red and green in turn: with chroma halved, as is Pillow's default, they would be brown."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[:, ::2, 0] = pixels[:, 1::2, 1] = 200
    packed = stored(JpegStorage(95), tmp_path / "jpeg", [Image.fromarray(pixels)])
    assert np.abs(packed[np.array([0])][0].astype(int) - pixels).max() < 30


@pytest.mark.parametrize("quality", [20, 90, 100])
def test_both_decoders_give_the_same_pixels(quality: int) -> None:
    simplejpeg = pytest.importorskip("simplejpeg", reason="simplejpeg is not installed")
    storage = JpegStorage(quality)
    rng = np.random.default_rng(quality)
    noise = [Image.fromarray(rng.integers(0, 256, (s, 33, 3), dtype=np.uint8)) for s in (1, 7, 8, 33, 200)]
    for image in smooth_images(100, seed=quality) + noise:
        data = np.frombuffer(storage.encode(image, SIDE), np.uint8)
        np.testing.assert_array_equal(simplejpeg.decode_jpeg(data, "RGB"), decode_by_pillow(data))


def test_without_simplejpeg_pillow_decodes(tmp_path, monkeypatch) -> None:
    images = smooth_images(6)
    packed = stored(JpegStorage(90), tmp_path / "jpeg", images)
    first = packed[np.arange(6)]
    monkeypatch.setitem(sys.modules, "simplejpeg", None)  # importing it fails
    jpegs._decoder.cache_clear()
    try:
        assert jpegs._decoder() is decode_by_pillow
        np.testing.assert_array_equal(packed[np.arange(6)], first)
    finally:
        jpegs._decoder.cache_clear()


@pytest.mark.parametrize("decoder", ["simplejpeg", "pillow"])
@pytest.mark.parametrize("damage", ["zeros", "cut"])
def test_a_damaged_jpeg_is_named(tmp_path, monkeypatch, decoder: str, damage: str) -> None:
    if decoder == "pillow":
        monkeypatch.setitem(sys.modules, "simplejpeg", None)
    else:
        pytest.importorskip("simplejpeg", reason="simplejpeg is not installed")
    jpegs._decoder.cache_clear()
    try:
        stored(JpegStorage(90), tmp_path / "jpeg", smooth_images(6))
        path = tmp_path / "jpeg" / "images.jpegs"
        offsets = np.load(tmp_path / "jpeg" / "jpeg_offsets.npy")
        content = bytearray(path.read_bytes())
        start, end = offsets[2:4].tolist()
        if damage == "zeros":
            content[start : start + 20] = bytes(20)
        else:
            offsets[3] = (start + end) // 2
        path.write_bytes(content)
        packed = JpegImages(np.memmap(path, np.uint8, mode="r"), offsets, SIDE)
        packed[np.array([0, 1])]
        expected = r"images\.jpegs: image 2 is damaged \(.*\); delete the folder it is in"
        with pytest.raises(DataError, match=expected):
            packed[np.array([0, 1, 2])]
    finally:
        jpegs._decoder.cache_clear()


def test_settings_choose_the_storage() -> None:
    labels = [
        storage_of(GeneratedDataSettings(storage=storage, jpeg_quality=quality)).label
        for storage, quality in (("raw", 90), ("raw", 10), ("jpeg", 90), ("jpeg", 10))
    ]
    assert labels == ["raw", "raw", "jpeg90", "jpeg10"]
