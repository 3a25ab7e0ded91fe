from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spinesearch.proxy_task import cache
from spinesearch.proxy_task.coco import load_coco
from spinesearch.proxy_task.errors import DataError
from spinesearch.proxy_task.generate import generate_dataset
from spinesearch.proxy_task.pack import load_rgb, pack_images


def packs_in(cache_dir: Path) -> list[Path]:
    """What a build left in the cache; the empty lock files are meant to stay."""
    return [path for path in (cache_dir / "packs").iterdir() if path.suffix != ".lock"]


def test_images_lie_top_left_with_their_long_side_at_the_size_and_zeros_around(tiny_coco, tmp_path) -> None:
    pack = pack_images(tiny_coco.load(), 32, tmp_path)
    assert pack.images.shape == (4, 32, 32, 3)
    assert pack.images.dtype == np.uint8
    assert pack.scales.dtype == np.float32
    np.testing.assert_allclose(pack.scales, [32 / 40, 32 / 40, 32 / 64, 32 / 50])
    assert pack.sizes.tolist() == [[24, 32], [32, 24], [32, 32], [6, 32]]
    for image, (width, height) in zip(pack.images, pack.sizes, strict=True):
        assert not image[height:].any()
        assert not image[:, width:].any()
        assert image[:height, :width].any(axis=2).all()
    assert isinstance(pack.images, np.memmap)
    assert not pack.images.flags.writeable


@pytest.mark.parametrize("image_size", [16, 40, 100])
def test_scaled_boxes_surround_the_same_pixels(tiny_coco, tmp_path, image_size: int) -> None:
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[5:25, 10:30] = 255
    Image.fromarray(pixels).save(tiny_coco.images_dir / "7.png")
    pack = pack_images(tiny_coco.load(), image_size, tmp_path)
    x1, y1, x2, y2 = np.array([10, 5, 30, 25]) * pack.scales[1]
    bright = pack.images[1, ..., 0].astype(np.float64) / 255
    assert abs(bright.sum() - (x2 - x1) * (y2 - y1)) < 0.02 * bright.sum()
    centre = np.arange(image_size) + 0.5
    assert abs((bright.sum(0) * centre).sum() / bright.sum() - (x1 + x2) / 2) < 0.3
    assert abs((bright.sum(1) * centre).sum() / bright.sum() - (y1 + y2) / 2) < 0.3


def test_an_image_of_the_packs_size_is_packed_unchanged(tiny_coco, tmp_path) -> None:
    pack = pack_images(tiny_coco.load(), 64, tmp_path)
    np.testing.assert_array_equal(pack.images[2], np.asarray(Image.open(tiny_coco.images_dir / "11.png")))


def test_a_pack_is_built_once_and_again_when_a_file_changes(tiny_coco, tmp_path) -> None:
    calls: list[tuple[int, int]] = []

    def pack() -> np.ndarray:
        return pack_images(
            tiny_coco.load(), 32, tmp_path, progress=lambda done, total: calls.append((done, total))
        ).images

    first = pack()
    assert calls == [(4, 4)]
    np.testing.assert_array_equal(first, pack())
    assert len(calls) == 1
    file = tiny_coco.images_dir / "7.png"
    os.utime(file, (1, 1))
    pack()
    assert len(calls) == 2
    assert len(packs_in(tmp_path)) == 2


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"nonsense" * 100])
def test_a_damaged_pack_is_built_again(tiny_coco, tmp_path, damage: bytes) -> None:
    data = tiny_coco.load()
    expected = np.array(pack_images(data, 32, tmp_path).images)
    (path,) = packs_in(tmp_path)
    path.write_bytes(damage)
    np.testing.assert_array_equal(pack_images(data, 32, tmp_path).images, expected)


GREY = np.tile(np.arange(0, 240, 6, dtype=np.uint8), (30, 1))  # [30, 40]


def exotic_images() -> dict[str, tuple[Image.Image, str, dict[str, object]]]:
    """Images of one grey ramp in many forms: the image, its file's suffix, options for saving."""
    grey = Image.fromarray(GREY)
    alpha = Image.fromarray(np.full_like(GREY, 7))
    rgb = grey.convert("RGB")
    palette = rgb.quantize(64)
    wide = Image.fromarray(GREY.astype(np.uint16) * 256 + 99)
    rotated = Image.Exif()
    rotated[0x0112] = 6
    return {
        "L": (grey, ".png", {}),
        "LA": (Image.merge("LA", (grey, alpha)), ".png", {}),
        "RGBA": (Image.merge("RGBA", (grey, grey, grey, alpha)), ".png", {}),
        "P": (palette, ".png", {}),
        "P transparent": (palette, ".png", {"transparency": bytes(range(64))}),
        "P gif": (palette, ".gif", {"transparency": 3}),
        "CMYK": (rgb.convert("CMYK"), ".tiff", {}),
        "CMYK jpeg": (rgb.convert("CMYK"), ".jpg", {"quality": 100}),
        "I;16": (wide, ".png", {}),
        "I;16 tiff": (wide, ".tiff", {}),
        "I": (wide, ".pgm", {}),
        "EXIF rotated": (rgb, ".jpg", {"quality": 100, "exif": rotated}),
    }


@pytest.mark.parametrize("name", exotic_images())
def test_every_kind_of_image_becomes_rgb(tmp_path, name: str) -> None:
    image, suffix, options = exotic_images()[name]
    path = tmp_path / f"image{suffix}"
    image.save(path, **options)
    loaded = load_rgb(path)
    assert loaded.mode == "RGB"
    difference = np.asarray(loaded).astype(int) - GREY[..., None]
    assert np.abs(difference).max() <= 6


def test_bilevel_images_become_black_and_white(tmp_path) -> None:
    Image.fromarray(GREY > 99).save(tmp_path / "image.png")
    np.testing.assert_array_equal(np.asarray(load_rgb(tmp_path / "image.png"))[..., 0], (GREY > 99) * 255)


def test_broken_images_are_named_and_nothing_is_left(tiny_coco, tmp_path) -> None:
    file = tiny_coco.images_dir / "7.png"
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no image", whole[:60] + bytes(40) + whole[100:]):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"image .*7\.png: cannot be decoded \(.*\); replace") as error:
            pack_images(tiny_coco.load(), 32, tmp_path)
        assert "\n" not in str(error.value)
        assert packs_in(tmp_path) == []
    (tiny_coco.images_dir / "3.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"3\.png: .* \(2 of 4 images cannot be used\)"):
        pack_images(tiny_coco.load(), 32, tmp_path)
    assert packs_in(tmp_path) == []


def test_a_truncated_jpeg_is_named(tiny_coco, tmp_path) -> None:
    rng = np.random.default_rng(0)
    file = tiny_coco.images_dir / "7.png"
    Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(file, format="JPEG")
    pack_images(tiny_coco.load(), 32, tmp_path)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"7\.png: cannot be decoded \(image file is truncated"):
        pack_images(tiny_coco.load(), 32, tmp_path)


def test_a_size_other_than_annotated_is_named(tiny_coco, tmp_path) -> None:
    tiny_coco.document["images"][0].update(width=30, height=40)
    with pytest.raises(DataError, match=r"7\.png: is 40 x 30 pixels as stored .* say 30 x 40; correct"):
        pack_images(tiny_coco.load(), 32, tmp_path)


def test_too_little_space_is_said_before_anything_is_written(tiny_coco, tmp_path, monkeypatch) -> None:
    usage = cache.shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DataError, match=r"needs 0\.01 GB, 0\.00 GB are free; .*SPINESEARCH_CACHE") as error:
        pack_images(tiny_coco.load(), 1000, tmp_path)
    assert str(tmp_path) in str(error.value)
    assert packs_in(tmp_path) == []


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(tiny_coco, tmp_path) -> None:
    data = tiny_coco.load()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (100_000, limits[1])
    )  # past it a write fails like on a full disk
    try:
        with pytest.raises(DataError, match=r"writing 0\.00 GB failed \(File too large\); free some space"):
            pack_images(data, 256, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert packs_in(tmp_path) == []


def test_a_cache_that_cannot_be_written(tiny_coco, tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        DataError, match=r"cache folder .*file/packs: cannot be written \(Not a directory\); set"
    ):
        pack_images(tiny_coco.load(), 32, tmp_path / "file")


def test_the_default_cache_is_found(monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("SPINESEARCH_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache.default_cache_dir() == Path("/home/me/.cache/spinesearch")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache.default_cache_dir() == Path("/x/spinesearch")
    monkeypatch.setenv("SPINESEARCH_CACHE", "~/c")
    assert cache.default_cache_dir() == Path("/home/me/c")


# Builds a data set or a pack and says so after each step, slowly enough to be hit in between.
BUILDER = """
import sys, time
from pathlib import Path
from spinesearch.proxy_task.coco import load_coco
from spinesearch.proxy_task.generate import generate_dataset
from spinesearch.proxy_task.pack import pack_images

def progress(done, total):
    print(done, flush=True)
    time.sleep(0.05)

what, cache_dir = sys.argv[1], Path(sys.argv[2])
if what == "generate":
    generate_dataset(cache_dir, num_images=20, num_val_images=5, seed=0, progress=progress)
else:
    root = Path(sys.argv[3])
    data = load_coco(root / "train", root / "annotations/instances_train.json")
    pack_images(data, 64, cache_dir, progress=progress)
print("end", flush=True)
"""


def start_builder(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def kill_after(steps: int, *arguments: str | Path) -> None:
    """SIGKILL to a builder that has said it is `steps` steps along."""
    with start_builder(*arguments) as process:
        assert process.stdout is not None
        for _ in range(steps):
            assert process.stdout.readline().strip() not in ("", "end")
        process.send_signal(signal.SIGKILL)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """A generated data set of 200 images: several batches of a pack."""
    return generate_dataset(tmp_path_factory.mktemp("drawn"), num_images=200, num_val_images=0, seed=0)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_pack_whose_builder_was_killed_is_built_again(drawn: Path, tmp_path: Path, steps: int) -> None:
    data = load_coco(drawn / "train", drawn / "annotations" / "instances_train.json")
    expected = pack_images(data, 64, tmp_path / "whole").images
    kill_after(steps, "pack", tmp_path / "killed", drawn)
    (left,) = packs_in(tmp_path / "killed")
    assert left.suffix == ".partial"
    calls: list[int] = []
    again = pack_images(data, 64, tmp_path / "killed", progress=lambda done, total: calls.append(done)).images
    assert calls
    np.testing.assert_array_equal(again, expected)
    assert [path.suffix for path in packs_in(tmp_path / "killed")] == [".npy"]


@pytest.mark.parametrize("steps", [2, 21])
def test_a_data_set_whose_drawing_was_killed_is_drawn_again(tmp_path: Path, steps: int) -> None:
    kill_after(steps, "generate", tmp_path / "killed")
    assert all(path.name.startswith(".") for path in (tmp_path / "killed").iterdir())
    folders = [
        generate_dataset(tmp_path / name, num_images=20, num_val_images=5, seed=0)
        for name in ("killed", "whole")
    ]
    assert contents(folders[0]) == contents(folders[1])
    assert len(contents(folders[0])) == 27


def test_of_processes_that_ask_at_once_one_builds_and_all_go_on(drawn: Path, tmp_path: Path) -> None:
    for what in ("generate", "pack"):
        processes = [start_builder(what, tmp_path / what, drawn) for _ in range(3)]
        lines = [process.communicate(timeout=60)[0].split() for process in processes]
        assert [process.returncode for process in processes] == [0, 0, 0]
        assert [line[-1] for line in lines] == ["end"] * 3
        assert sorted(len(line) > 1 for line in lines) == [False, False, True], lines
