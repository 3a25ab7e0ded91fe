"""Building a pack: what it says, what it refuses and what it skips, and that nothing half-written is left."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from spinesearch.data import cache
from spinesearch.data.coco.dataset import content_key
from spinesearch.data.coco.read import load_coco
from spinesearch.data.errors import DataError
from spinesearch.data.pack import pack_build
from spinesearch.data.pack.pack import Pack, open_pack
from spinesearch.data.pack.pack_build import PackSource
from spinesearch.data.pack.storage import JpegStorage, RawStorage


def pack_tiny(tiny_coco, cache_dir: Path, image_size: int = 32, report=None, **fields: Any) -> Pack:
    tiny_coco.save()
    source = PackSource(
        **{
            "images_dir": tiny_coco.images_dir,
            "annotations_path": tiny_coco.path,
            "image_size": image_size,
            "storage": RawStorage(),
            **fields,
        }
    )
    return open_pack(source, cache_dir, report=report)


def left_in(cache_dir: Path) -> list[Path]:
    """What a build left in the cache; the empty lock files are meant to stay."""
    return [path for path in (cache_dir / "packs").iterdir() if path.suffix != ".lock"]


def set_free_space(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    usage = cache.shutil._ntuple_diskusage(10**12, 10**12 - free, free)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: usage)


def test_says_what_it_will_write_and_how_fast_it_was(tiny_coco, tmp_path, monkeypatch) -> None:
    lines: list[str] = []
    set_free_space(monkeypatch, 5 * 10**9)
    for _ in range(2):
        pack_tiny(tiny_coco, tmp_path, 1000, lines.append)
    first, second = lines  # and nothing when there is nothing to do
    records = 4 * 2 * 24
    size = f"{(4 * 1000 * 1000 * 3 + records) / 1e6:.1f} MB"
    what = f"packing 4 images at 1000 x 1000 pixels: {size} of raw pixels"
    assert first == f"{what} into {tmp_path}/packs, 5.00 GB are free"
    assert second.startswith("packed 4 images in ")
    assert " images/s): 12.0 MB in " in second


def test_a_large_pack_comes_with_the_size_of_its_jpegs(tiny_coco, tmp_path, monkeypatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(pack_build, "_WORTH_A_HINT", 10**6)
    pack_tiny(tiny_coco, tmp_path, 1000, lines.append)
    hint = lines[0].rpartition("; ")[2]
    assert hint.startswith("set data.storage=jpeg (about ")
    assert hint.endswith(" MB) for less")
    said = float(hint.partition("about ")[2].partition(" MB")[0])
    pack_tiny(tiny_coco, tmp_path, 1000, lines.append, storage=JpegStorage(90))
    assert f"about {said} MB of JPEGs into " in lines[2]
    assert lines[2].endswith("(raw: 12.0 MB)")
    (jpegs,) = (tmp_path / "packs").glob("*/images.jpegs")
    assert said == pytest.approx(jpegs.stat().st_size / 1e6, rel=0.1)  # all four were the sample


def test_too_little_space_is_said_before_anything_is_written(tiny_coco, tmp_path, monkeypatch) -> None:
    set_free_space(monkeypatch, 10**6)
    with pytest.raises(DataError) as error:
        pack_tiny(tiny_coco, tmp_path, 1000)
    message = str(error.value)
    assert message.startswith(
        f"cache folder {tmp_path}/packs: packing 4 images at 1000 x 1000 pixels needs 12.0 MB, "
        "1.0 MB are free; free some space, set data.storage=jpeg (about "
    )
    assert message.endswith("), or set data.cache_dir or $SPINESEARCH_CACHE to a folder elsewhere")
    assert left_in(tmp_path) == []
    set_free_space(monkeypatch, 10**4)
    with pytest.raises(DataError, match=r"needs 0\.. MB, 0\.0 MB are free; free some space, or set data\.ca"):
        pack_tiny(tiny_coco, tmp_path, 1000, storage=JpegStorage(90))
    assert left_in(tmp_path) == []


def test_jpegs_fit_where_raw_pixels_do_not(tiny_coco, tmp_path, monkeypatch) -> None:
    set_free_space(monkeypatch, 4 * 10**6)
    with pytest.raises(DataError, match=r"set data\.storage=jpeg"):
        pack_tiny(tiny_coco, tmp_path, 1000)
    assert pack_tiny(tiny_coco, tmp_path, 1000, storage=JpegStorage(90)).images.images.shape[0] == 4


@pytest.mark.parametrize("storage", [RawStorage(), JpegStorage(95)])
def test_a_disk_that_fills_up_meanwhile_leaves_nothing(tiny_coco, tmp_path, storage) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Past it a write fails as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(DataError, match=r"cannot be written \(File too large\); free some space, or set"):
            pack_tiny(tiny_coco, tmp_path, 256, storage=storage)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert left_in(tmp_path) == []


def test_a_cache_that_cannot_be_written(tiny_coco, tmp_path) -> None:
    (tmp_path / "file").touch()
    expected = r"cache folder .*file/packs: cannot be written \(Not a directory\); set"
    with pytest.raises(DataError, match=expected):
        pack_tiny(tiny_coco, tmp_path / "file")


def test_broken_images_are_named_and_nothing_is_left(tiny_coco, tmp_path) -> None:
    file = tiny_coco.images_dir / "7.png"
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"no image", whole[:60] + bytes(40) + whole[100:]):
        file.write_bytes(content)
        expected = r"image .*/7\.png: cannot be decoded \(.*\); replace .* data\.skip_broken=true to continue"
        with pytest.raises(DataError, match=expected) as error:
            pack_tiny(tiny_coco, tmp_path)
        assert "\n" not in str(error.value)
        assert left_in(tmp_path) == []
    (tiny_coco.images_dir / "3.png").write_bytes(b"")
    expected = r"/3\.png: is empty .* \(2 of 4 images cannot be used: also 7\.png\)$"
    with pytest.raises(DataError, match=expected):
        pack_tiny(tiny_coco, tmp_path)
    assert left_in(tmp_path) == []


def test_a_missing_image_and_one_of_another_size_are_named(tiny_coco, tmp_path) -> None:
    tiny_coco.document["images"][0].update(width=31, height=40)
    with pytest.raises(DataError, match=r"7\.png: is 40 x 30 pixels as stored, the annotations say 31 x 40;"):
        pack_tiny(tiny_coco, tmp_path)
    (tiny_coco.images_dir / "7.png").unlink()
    with pytest.raises(DataError, match=r"'7\.png' is missing \(1 of 4 .*; fetch .*data\.skip_broken=true"):
        pack_tiny(tiny_coco, tmp_path)


def break_image(tiny_coco, how: str) -> None:
    path = tiny_coco.images_dir / "7.png"
    content = path.read_bytes()
    path.unlink()
    if how == "truncated":
        path.write_bytes(content[:-400])
    elif how == "empty":
        path.touch()
    elif how == "folder":
        path.mkdir()
    elif how == "size":
        Image.new("RGB", (39, 30)).save(path)


REASONS = {
    "truncated": "cannot be decoded (",
    "empty": "is empty (0 bytes)",
    "folder": "is not a file",
    "missing": "is missing (No such file or directory)",
    "size": "is 39 x 30 pixels as stored, the annotations say 40 x 30",
}


@pytest.mark.parametrize("storage", [RawStorage(), JpegStorage(90)])
@pytest.mark.parametrize("how", REASONS)
def test_skipped_images_are_as_if_the_file_did_not_have_them(tiny_coco, tmp_path, how: str, storage) -> None:
    break_image(tiny_coco, how)
    with pytest.raises(DataError, match=r"7\.png"):
        pack_tiny(tiny_coco, tmp_path, storage=storage)
    skipping = pack_tiny(tiny_coco, tmp_path, storage=storage, skip_broken=True)
    (skipped,) = skipping.skipped
    assert skipped.file_name == "7.png"
    assert skipped.reason.startswith(REASONS[how])

    rows = tiny_coco.document
    rows["images"] = [row for row in rows["images"] if row["id"] != 7]
    rows["annotations"] = [row for row in rows["annotations"] if row["image_id"] != 7]
    without = pack_tiny(tiny_coco, tmp_path, storage=storage)
    assert without.content_key == skipping.content_key
    assert list(without.dataset.images) == list(skipping.dataset.images)
    everything = np.arange(3)
    for a, b in zip(
        (without.images.images[everything], without.images.sizes, without.images.scales, without.boxes),
        (skipping.images.images[everything], skipping.images.sizes, skipping.images.scales, skipping.boxes),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_the_key_says_which_images_were_skipped(tiny_coco, tmp_path) -> None:
    whole = pack_tiny(tiny_coco, tmp_path, skip_broken=True)
    assert whole.skipped == ()
    assert whole.content_key == tiny_coco.content_key()
    keys = {whole.content_key}
    for name in ("7.png", "11.png"):
        (tiny_coco.images_dir / name).write_bytes(b"")
        pack = pack_tiny(tiny_coco, tmp_path, skip_broken=True)
        keys.add(pack.content_key)
        data = load_coco(tiny_coco.images_dir, tiny_coco.path)
        kept = np.array([image.file_name not in {s.file_name for s in pack.skipped} for image in data.images])
        lengths = np.array([os.stat(tiny_coco.images_dir / i.file_name).st_size for i in data.images])
        assert pack.content_key == content_key(data.select(kept), lengths[kept])
    assert len(keys) == 3


@pytest.mark.parametrize("how", REASONS)
def test_a_repaired_image_is_packed_and_a_newly_broken_one_left_out(tiny_coco, tmp_path, how: str) -> None:
    path = tiny_coco.images_dir / "7.png"
    content = path.read_bytes()
    break_image(tiny_coco, how)
    for _ in range(2):
        assert len(pack_tiny(tiny_coco, tmp_path, skip_broken=True).skipped) == 1
    if path.is_dir():
        path.rmdir()
    path.write_bytes(content)
    assert pack_tiny(tiny_coco, tmp_path, skip_broken=True).skipped == ()
    break_image(tiny_coco, how)
    assert len(pack_tiny(tiny_coco, tmp_path, skip_broken=True).skipped) == 1
    assert len(left_in(tmp_path)) == 1


def test_when_no_image_can_be_used_that_is_refused(tiny_coco, tmp_path) -> None:
    for path in tiny_coco.images_dir.iterdir():
        path.write_bytes(b"")
    for skip_broken in (False, True):
        with pytest.raises(
            DataError, match=r"3\.png: is empty .*the same holds for every image of the data set\)"
        ):
            pack_tiny(tiny_coco, tmp_path, skip_broken=skip_broken)
    assert left_in(tmp_path) == []
