from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from spinesearch.data.errors import DataError
from spinesearch.data.open import CocoDataSettings, GeneratedDataSettings, ProxyData, open_data
from spinesearch.data.reopen import reopen_data
from spinesearch.data.split.held_out import held_out_mask


@pytest.fixture
def tiny_settings(tiny_coco, tmp_path):
    """Settings of the tiny data set; half of its images are held out: 20 and 11, not 3 and 7."""

    def settings(**fields: Any) -> CocoDataSettings:
        return CocoDataSettings(
            **{
                "train_images": str(tiny_coco.images_dir),
                "train_annotations": str(tiny_coco.path),
                "held_out_share": 0.5,
                "cache_dir": str(tmp_path / "cache"),
                **fields,
            }
        )

    return settings


@pytest.fixture
def open_tiny(tiny_coco, tiny_settings):
    """Opens the tiny data set."""

    def open_it(
        *, image_size: int = 32, warn: Callable[[str], None] | None = None, **settings: Any
    ) -> ProxyData:
        tiny_coco.save()
        return open_data(tiny_settings(**settings), image_size=image_size, warn=warn)

    return open_it


def test_targets_are_padded_and_scaled_and_leave_crowds_out(tiny_coco, open_tiny) -> None:
    tiny_coco.document["annotations"].append(
        {"image_id": 7, "category_id": 2, "bbox": [0, 0, 40, 30], "area": 9, "iscrowd": 1}
    )
    data = open_tiny(image_size=80)  # images 3, 7, 11, 20: twice, twice, 1.25 and 1.6 times the size
    assert data.labels.tolist() == [[0, -1], [1, 0], [1, -1], [0, -1]]
    expected = np.zeros((4, 2, 4))
    expected[0, 0] = [0, 0, 60, 80]
    expected[1] = [[2, 4, 22, 44], [11, 10.5, 19, 18.5]]
    expected[2, 0] = [12.5, 12.5, 37.5, 50]
    expected[3, 0] = [3.2, 3.2, 12.8, 67.2]
    np.testing.assert_allclose(data.boxes, expected, rtol=1e-6)
    assert data.boxes.dtype == np.float32
    assert data.labels.dtype == np.int64
    assert data.class_names == ("bicycle", "dog")
    assert data.num_classes == 2
    assert data.dataset.is_crowd[1].tolist() == [False, False, True]
    assert data.pack.images.shape == (4, 80, 80, 3)


def test_every_image_is_in_one_split_also_those_without_objects(tiny_coco, open_tiny) -> None:
    held_out = held_out_mask([3, 7, 11, 20], 0.5)
    keep = [int(np.flatnonzero(held_out)[0]), int(np.flatnonzero(~held_out)[0])]
    ids = [[3, 7, 11, 20][i] for i in keep]
    rows = tiny_coco.document["annotations"]
    rows[:] = [row for row in rows if row["image_id"] in ids]
    data = open_tiny()
    np.testing.assert_array_equal(data.held_out_index, np.flatnonzero(held_out))
    np.testing.assert_array_equal(data.train_index, np.flatnonzero(~held_out))
    assert (data.labels[[i for i in range(4) if i not in keep]] == -1).all()


def test_the_key_says_whether_two_workers_train_on_the_same_data(tiny_coco, open_tiny, tmp_path) -> None:
    key = open_tiny().key
    assert open_tiny(name="other", cache_dir=str(tmp_path / "elsewhere")).key == key
    copy = shutil.copytree(tiny_coco.images_dir, tmp_path / "copy")
    os.utime(copy / "3.png", (1, 1))
    assert open_tiny(train_images=str(copy)).key == key
    assert open_tiny(image_size=64).key != key
    assert open_tiny(held_out_share=0.6).key != key
    keys = {open_tiny(storage="jpeg", jpeg_quality=quality).key for quality in (80, 90)}
    assert len(keys | {key}) == 3
    assert open_tiny(jpeg_quality=80).key == key  # raw has no use for it
    assert open_tiny(skip_broken=True).key == key  # nothing is broken
    tiny_coco.document["annotations"][0]["bbox"][0] += 1
    assert open_tiny().key != key


def test_a_split_without_a_box_is_an_error(tiny_coco, open_tiny) -> None:
    with pytest.raises(
        DataError, match=r"data\.held_out_share: with 1e-09 the held-out split has no box .*\(0 of 4"
    ):
        open_tiny(held_out_share=1e-9)
    with pytest.raises(
        DataError, match=r"with 0.999999 the training split has no box .* change data\.held_out"
    ):
        open_tiny(held_out_share=0.999999)
    held_out = held_out_mask([row["image_id"] for row in tiny_coco.document["annotations"]], 0.5)
    for row, hidden in zip(tiny_coco.document["annotations"], held_out, strict=True):
        row["iscrowd"] = int(hidden)
    with pytest.raises(DataError, match=r"the held-out split has no box .*\(. of 4 images are in it\)"):
        open_tiny()


@pytest.mark.parametrize("storage", ["raw", "jpeg"])
def test_a_worker_opens_the_pack_alone(tiny_coco, open_tiny, tiny_settings, storage: str) -> None:
    """Neither annotations nor images are there any more: nothing but the pack can be what it reads."""
    settings = tiny_settings(storage=storage)
    for image_size in (48, 32):
        data = open_tiny(storage=storage, image_size=image_size)
    tiny_coco.path.unlink()
    shutil.rmtree(tiny_coco.images_dir)
    again = reopen_data(settings, image_size=32, key=data.key)
    every = np.arange(4)
    assert again.key == data.key
    assert list(again.dataset.images) == list(data.dataset.images)
    assert again.class_names == data.class_names
    for a, b in (
        (again.pack.images[every], data.pack.images[every]),
        (again.pack.sizes, data.pack.sizes),
        (again.pack.scales, data.pack.scales),
        (again.boxes, data.boxes),
        (again.labels, data.labels),
        (again.train_index, data.train_index),
        (again.held_out_index, data.held_out_index),
        (again.dataset.area.flat, data.dataset.area.flat),
    ):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(DataError, match=r"annotation file .*: cannot be read"):
        reopen_data(settings, image_size=32, key="of other data")


def test_a_worker_on_another_machine_builds_the_pack_there(
    tiny_coco, open_tiny, tiny_settings, tmp_path
) -> None:
    key = open_tiny().key
    elsewhere = tiny_settings(cache_dir=str(tmp_path / "elsewhere"))
    assert reopen_data(elsewhere, image_size=32, key=key).key == key
    tiny_coco.path.unlink()
    assert reopen_data(elsewhere, image_size=32, key=key).key == key


def test_a_worker_with_other_data_refuses(tiny_coco, open_tiny, tiny_settings) -> None:
    key = open_tiny().key
    tiny_coco.document["annotations"][0]["bbox"][0] += 1
    tiny_coco.save()
    settings = tiny_settings()
    assert reopen_data(settings, image_size=32, key=key).key == key  # the pack of what the search opened
    shutil.rmtree(settings.cache_dir)
    with pytest.raises(DataError, match=rf"is not the one the search uses \(key {key}\); copy the same"):
        reopen_data(settings, image_size=32, key=key)


def test_generated_data_are_reopened_without_being_drawn(tmp_path) -> None:
    settings = GeneratedDataSettings(num_images=12, num_val_images=0, cache_dir=str(tmp_path))
    key = open_data(settings, image_size=32).key
    shutil.rmtree(tmp_path / "generated")
    assert reopen_data(settings, image_size=32, key=key).key == key
    assert not (tmp_path / "generated").exists()


def test_a_split_without_a_box_is_refused_before_anything_is_packed(open_tiny, tmp_path) -> None:
    with pytest.raises(DataError, match=r"^data\.held_out_share"):
        open_tiny(held_out_share=1e-9)
    assert [path.suffix for path in (tmp_path / "cache" / "packs").iterdir()] == [".lock"]


@pytest.mark.parametrize("ids", [[3], [20]])
def test_one_image_is_too_few_to_hold_any_out(tiny_coco, open_tiny, ids: list[int]) -> None:
    for section, field in (("images", "id"), ("annotations", "image_id")):
        rows = tiny_coco.document[section]
        rows[:] = [row for row in rows if row[field] in ids]
    with pytest.raises(
        DataError, match=r"split has no box .*\([01] of 1 images are in it\).* give more images"
    ):
        open_tiny()


def test_a_split_that_loses_its_last_box_to_skipping_is_an_error(tiny_coco, open_tiny) -> None:
    for name in ("11.png", "20.png"):  # all that is held out
        (tiny_coco.images_dir / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"11\.png: is empty"):
        open_tiny()
    with pytest.raises(DataError, match=r"the held-out split has no box .*\(0 of 2 images are in it\)"):
        open_tiny(skip_broken=True, warn=lambda line: None)


def test_skipped_images_are_reported_once(tiny_coco, open_tiny) -> None:
    warnings: list[str] = []
    (tiny_coco.images_dir / "3.png").write_bytes(b"")
    for _ in range(2):
        open_tiny(skip_broken=True, warn=warnings.append)
    line = f"{tiny_coco.path}: 1 image is left out (data.skip_broken): 3.png is empty (0 bytes)"
    assert warnings == [line]
    (tiny_coco.images_dir / "11.png").unlink()
    open_tiny(skip_broken=True, warn=warnings.append)
    assert warnings[1:] == [line.replace("1 image is", "2 images are") + "; and 1 more"]


def test_masks_of_any_form_change_nothing(tiny_coco, open_tiny) -> None:
    """Polygons, RLE as lists and as COCO's strings, on crowds and on objects; and none at all."""
    rows = tiny_coco.document["annotations"]
    rows.append({"image_id": 7, "category_id": 2, "bbox": [0, 0, 40, 30], "area": 900, "iscrowd": 1})
    key = open_tiny().key
    masks = (
        [[1, 2, 11, 2, 11, 22, 1, 22], [3.5, 3.5, 6, 6, 3.5, 6]],
        {"counts": [0, 300, 900], "size": [30, 40]},
        {"counts": "PQ3k1", "size": [30, 40]},
        [],
        None,
    )
    for mask in masks:
        for row in rows:
            row["segmentation"] = mask
        data = open_tiny()
        assert data.key == key
        assert data.dataset.is_crowd[1].tolist() == [False, False, True]
    assert (data.labels >= 0).sum(axis=1).tolist() == [1, 2, 1, 1]


def test_dropped_boxes_are_reported_once_per_data_set(tiny_coco, open_tiny, caplog) -> None:
    warnings: list[str] = []
    rows = tiny_coco.document["annotations"]
    open_tiny(warn=warnings.append)
    assert warnings == []
    rows.append({"image_id": 7, "category_id": 2, "bbox": [0, 0, 0, 0]})
    for image_size in (32, 64):
        open_tiny(warn=warnings.append, image_size=image_size)
    open_tiny()
    message = f"{tiny_coco.path}: 1 box is left out: empty, not finite or outside the image"
    assert warnings == [message]
    assert not caplog.records
    rows.append({"image_id": 7, "category_id": 2, "bbox": [0, 0, 0, 0]})
    open_tiny(warn=warnings.append)
    assert warnings[1:] == [message.replace("1 box is", "2 boxes are")]


def test_dropped_boxes_are_logged_where_nobody_listens(tiny_coco, open_tiny, caplog) -> None:
    tiny_coco.document["annotations"].append({"image_id": 7, "category_id": 2, "bbox": [0, 0, 0, 0]})
    for _ in range(2):
        open_tiny()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.messages == [f"{tiny_coco.path}: 1 box is left out: empty, not finite or outside the image"]


def test_generated_data_opens_with_progress_and_then_from_the_cache(tmp_path) -> None:
    steps: list[tuple[str, int, int]] = []
    settings = GeneratedDataSettings(num_images=12, num_val_images=2, cache_dir=str(tmp_path))
    first, second = (
        open_data(settings, image_size=48, progress=lambda *step: steps.append(step)) for _ in range(2)
    )
    assert steps == [("drawing images", i, 14) for i in range(1, 15)] + [("packing images", 12, 12)]
    assert first.key == second.key
    assert len(first.train_index) + len(first.held_out_index) == 12
    np.testing.assert_array_equal(first.pack.images, second.pack.images)
    valid = first.labels >= 0
    assert (first.boxes[valid][:, 2:] > first.boxes[valid][:, :2]).all()
    assert first.boxes.max() <= 48.001  # scales are rounded to float32


@pytest.mark.parametrize("name", ["bccd", "coco_tiny100"])
def test_real_data_opens(shared_data, tmp_path, name: str) -> None:
    images, annotations = shared_data(name)
    data = open_data(
        CocoDataSettings(
            name=name, train_images=images, train_annotations=annotations, cache_dir=str(tmp_path)
        ),
        image_size=64,
    )
    assert len(data.held_out_index) > 0
    assert np.count_nonzero(data.labels >= 0) == sum(int((~c).sum()) for c in data.dataset.is_crowd)
    assert data.boxes.max() <= 64.001
