"""A pack: what is in it, when it is built again, and that its records are those of the JSON."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from spinesearch.data.coco.dataset import CocoDataset
from spinesearch.data.coco.read import load_coco
from spinesearch.data.errors import DataError
from spinesearch.data.pack import pack_build
from spinesearch.data.pack.pack import Pack, open_pack, packs_in
from spinesearch.data.pack.pack_build import PACK_VERSION, PackSource
from spinesearch.data.pack.storage import JpegStorage, RawStorage


def source_of(tiny_coco, image_size: int = 32, **fields: Any) -> PackSource:
    tiny_coco.save()
    return PackSource(
        **{
            "images_dir": tiny_coco.images_dir,
            "annotations_path": tiny_coco.path,
            "image_size": image_size,
            "storage": RawStorage(),
            **fields,
        }
    )


def folders(cache_dir: Path) -> list[Path]:
    """What builds left in the cache; the empty lock files are meant to stay."""
    return sorted(path for path in (cache_dir / "packs").iterdir() if path.suffix != ".lock")


def test_images_lie_top_left_with_their_long_side_at_the_size_and_zeros_around(tiny_coco, tmp_path) -> None:
    pack = open_pack(source_of(tiny_coco), tmp_path).images
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
    tiny_coco.document["annotations"][0]["bbox"] = [10, 5, 20, 20]
    pack = open_pack(source_of(tiny_coco, image_size), tmp_path)
    x1, y1, x2, y2 = pack.boxes[1, 0]
    np.testing.assert_allclose([x1, y1, x2, y2], np.array([10, 5, 30, 25]) * image_size / 40, rtol=1e-6)
    bright = pack.images.images[1, ..., 0].astype(np.float64) / 255
    assert abs(bright.sum() - (x2 - x1) * (y2 - y1)) < 0.02 * bright.sum()
    centre = np.arange(image_size) + 0.5
    assert abs((bright.sum(0) * centre).sum() / bright.sum() - (x1 + x2) / 2) < 0.3
    assert abs((bright.sum(1) * centre).sum() / bright.sum() - (y1 + y2) / 2) < 0.3


def test_an_image_of_the_packs_size_is_packed_unchanged(tiny_coco, tmp_path) -> None:
    pack = open_pack(source_of(tiny_coco, 64), tmp_path)
    expected = np.asarray(Image.open(tiny_coco.images_dir / "11.png"))
    np.testing.assert_array_equal(pack.images.images[2], expected)


def test_a_pack_is_built_once_and_replaced_when_a_file_changes(tiny_coco, tmp_path) -> None:
    calls: list[tuple[int, int]] = []

    def opened() -> Pack:
        progress = lambda done, total: calls.append((done, total))  # noqa: E731
        return open_pack(source_of(tiny_coco), tmp_path, progress=progress)

    first = opened()
    assert calls == [(4, 4)]
    np.testing.assert_array_equal(first.images.images, opened().images.images)
    assert len(calls) == 1
    before = np.array(first.images.images)
    file = tiny_coco.images_dir / "7.png"
    Image.fromarray(np.full((30, 40, 3), 9, np.uint8)).save(file)
    second = opened()
    assert len(calls) == 2
    assert (second.images.images[1, :24, :32] == 9).all()
    assert len(folders(tmp_path)) == 1
    np.testing.assert_array_equal(first.images.images, before)  # who has it open keeps what it had
    os.utime(file, (1, 1))  # other content of the same length would look like this
    opened()
    assert len(calls) == 3


def test_packs_of_other_settings_and_annotations_stand_side_by_side(tiny_coco, tmp_path) -> None:
    built: list[int] = []
    for fields in (
        {},
        {"image_size": 40},
        {"storage": JpegStorage(90)},
        {"storage": JpegStorage(80)},
        {"skip_broken": True},
    ):
        for _ in range(2):
            open_pack(
                source_of(tiny_coco, **fields), tmp_path, progress=lambda done, total: built.append(done)
            )
    tiny_coco.document["info"] = {"year": 2017}  # another file, if not other content
    open_pack(source_of(tiny_coco), tmp_path, progress=lambda done, total: built.append(done))
    copy = shutil.copytree(tiny_coco.images_dir, tmp_path / "copy")
    open_pack(
        source_of(tiny_coco, images_dir=copy), tmp_path, progress=lambda done, total: built.append(done)
    )
    assert len(built) == len(folders(tmp_path)) == 7
    names = [path.name.rpartition("-")[0] for path in folders(tmp_path)]
    assert sorted(set(names)) == ["32px-jpeg80", "32px-jpeg90", "32px-raw", "40px-raw"]
    keys = {pack.content_key for pack in packs_in(tmp_path, source_of(tiny_coco))}
    assert len(list(packs_in(tmp_path, source_of(tiny_coco)))) == 4
    assert len(keys) == 1  # of raw packs at 32 pixels there are four, of one content


@pytest.mark.parametrize("damage", ["truncated", "longer", "missing", "emptied"])
@pytest.mark.parametrize("name", ["images.raw", "target_boxes.npy", "meta.json", "file_stats.npy"])
def test_a_damaged_pack_is_built_again(tiny_coco, tmp_path, name: str, damage: str) -> None:
    expected = np.array(open_pack(source_of(tiny_coco), tmp_path).images.images)
    (folder,) = folders(tmp_path)
    content = (folder / name).read_bytes()
    (folder / name).unlink()  # a new file: the mapped one cannot be cut
    if damage != "missing":
        changed = {"truncated": content[:-1], "longer": content + b"\0", "emptied": b""}[damage]
        (folder / name).write_bytes(changed)
    assert list(packs_in(tmp_path, source_of(tiny_coco))) == []
    calls: list[int] = []
    again = open_pack(source_of(tiny_coco), tmp_path, progress=lambda done, total: calls.append(done))
    assert calls == [4]
    np.testing.assert_array_equal(again.images.images, expected)


def test_a_pack_of_another_version_is_built_again(tiny_coco, tmp_path) -> None:
    open_pack(source_of(tiny_coco), tmp_path)
    (folder,) = folders(tmp_path)
    facts = (folder / "meta.json").read_text()
    assert f'"version": {PACK_VERSION}' in facts
    (folder / "meta.json").write_text(facts.replace(f'"version": {PACK_VERSION}', '"version": 1'))
    calls: list[int] = []
    open_pack(source_of(tiny_coco), tmp_path, progress=lambda done, total: calls.append(done))
    assert calls == [4]


def assert_equal_records(stored: CocoDataset, parsed: CocoDataset) -> None:
    assert list(stored.images) == list(parsed.images)
    assert stored.categories == parsed.categories
    assert stored.num_dropped_boxes == parsed.num_dropped_boxes
    for name in ("boxes_xyxy", "labels", "is_crowd", "area"):
        ours, theirs = getattr(stored, name), getattr(parsed, name)
        assert len(ours) == len(theirs) == len(parsed.images)
        for a, b in zip(ours, theirs, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        assert isinstance(ours.flat, np.memmap)  # on disk, not in this process
    assert isinstance(stored.images.sizes, np.memmap)


@pytest.mark.parametrize("name", ["bccd", "coco_tiny100"])
def test_stored_records_of_real_data_are_the_parsed_ones(shared_data, tmp_path, name: str) -> None:
    images, annotations = map(Path, shared_data(name))
    source = PackSource(images_dir=images, annotations_path=annotations, image_size=32, storage=RawStorage())
    open_pack(source, tmp_path)
    assert_equal_records(open_pack(source, tmp_path).dataset, load_coco(images, annotations))


def random_document(tiny_coco, rng: np.random.Generator) -> None:
    """Some of the images, categories with gaps, and boxes of every kind, some of them unusable."""
    tiny_coco.document["categories"] = [
        {"id": int(i), "name": f"Klasse {i} ä\ud800"} for i in rng.permutation(10**6)[: rng.integers(1, 9)]
    ]
    tiny_coco.document["annotations"] = [
        {
            "image_id": int(rng.choice([7, 3, 11, 20])),
            "category_id": rng.choice(tiny_coco.document["categories"])["id"],
            "bbox": rng.normal(*((10, 20) if rng.random() < 0.2 else (4, 3)), 4).tolist(),
            "area": float(rng.uniform(0, 99)),
            "iscrowd": int(rng.random() < 0.2),
        }
        for _ in range(rng.integers(30, 90))
    ]


def test_stored_records_of_random_files_are_the_parsed_ones(tiny_coco, tmp_path) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        random_document(tiny_coco, rng)
        parsed = tiny_coco.load()
        pack = open_pack(source_of(tiny_coco, 8), tmp_path)
        assert_equal_records(pack.dataset, parsed)
        for i, image in enumerate(parsed.images):  # padded targets, one image at a time
            wanted = ~parsed.is_crowd[i]
            count = int(wanted.sum())
            scale = np.float32(8 / max(image.width, image.height))
            np.testing.assert_array_equal(pack.boxes[i, :count], parsed.boxes_xyxy[i][wanted] * scale)
            np.testing.assert_array_equal(pack.labels[i, :count], parsed.labels[i][wanted])
            assert (pack.labels[i, count:] == -1).all()
            assert not pack.boxes[i, count:].any()
        assert pack.boxes.shape[1] == max(int((~crowd).sum()) for crowd in parsed.is_crowd)


def test_targets_grow_with_the_image_that_has_most(tiny_coco, tmp_path) -> None:
    rows = tiny_coco.document["annotations"]
    rows += [{"image_id": 11, "category_id": 2, "bbox": [n % 60, n // 60, 3, 3]} for n in range(700)]
    pack = open_pack(source_of(tiny_coco), tmp_path)
    assert pack.boxes.shape == (4, 701, 4)
    assert (pack.labels >= 0).sum(axis=1).tolist() == [1, 2, 701, 1]


def test_annotations_that_change_while_they_are_read_are_not_packed_as_the_old_ones(
    tiny_coco, tmp_path, monkeypatch
) -> None:
    def read(images_dir: Path, path: Path, **options: Any) -> CocoDataset:
        dataset = read_coco(images_dir, path, **options)
        path.write_text(path.read_text() + "\n")
        return dataset

    read_coco = pack_build.read_coco
    monkeypatch.setattr(pack_build, "read_coco", read)
    with pytest.raises(DataError, match="changed while it was read; give the command again"):
        open_pack(source_of(tiny_coco), tmp_path)
    assert folders(tmp_path) == []
    monkeypatch.undo()
    open_pack(source_of(tiny_coco), tmp_path)


def test_nothing_is_packed_when_the_check_refuses(tiny_coco, tmp_path) -> None:
    def check(dataset: CocoDataset) -> None:
        raise DataError(f"{len(dataset.images)} are too few")

    calls: list[int] = []
    with pytest.raises(DataError, match="4 are too few"):
        open_pack(
            source_of(tiny_coco), tmp_path, check=check, progress=lambda done, total: calls.append(done)
        )
    assert folders(tmp_path) == calls == []
