from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import MISSING, OmegaConf

from spinesearch.proxy_task.coco import held_out_mask
from spinesearch.proxy_task.data import CocoDataSettings, GeneratedDataSettings, ProxyData, open_data
from spinesearch.proxy_task.errors import DataError

CONF = Path(__file__).parents[2] / "conf" / "data"


@pytest.fixture
def open_tiny(tiny_coco, tmp_path):
    """Opens the tiny data set; half of its images are held out: 20 and 11, not 3 and 7."""

    def open_it(
        *, image_size: int = 32, warn: Callable[[str], None] | None = None, **settings: Any
    ) -> ProxyData:
        tiny_coco.save()
        return open_data(
            CocoDataSettings(
                **{
                    "train_images": str(tiny_coco.images_dir),
                    "train_annotations": str(tiny_coco.path),
                    "held_out_share": 0.5,
                    "cache_dir": str(tmp_path / "cache"),
                    **settings,
                }
            ),
            image_size=image_size,
            warn=warn,
        )

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


def test_dropped_boxes_are_told_once_per_data_set(tiny_coco, open_tiny, caplog) -> None:
    told: list[str] = []
    rows = tiny_coco.document["annotations"]
    open_tiny(warn=told.append)
    assert told == []
    rows.append({"image_id": 7, "category_id": 2, "bbox": [0, 0, 0, 0]})
    for image_size in (32, 64):
        open_tiny(warn=told.append, image_size=image_size)
    open_tiny()
    message = f"{tiny_coco.path}: 1 box is left out: empty, not finite or outside the image"
    assert told == [message]
    assert not caplog.records
    rows.append({"image_id": 7, "category_id": 2, "bbox": [0, 0, 0, 0]})
    open_tiny(warn=told.append)
    assert told[1:] == [message.replace("1 box is", "2 boxes are")]


def test_dropped_boxes_are_logged_where_nobody_listens(tiny_coco, open_tiny, caplog) -> None:
    tiny_coco.document["annotations"].append({"image_id": 7, "category_id": 2, "bbox": [0, 0, 0, 0]})
    for _ in range(2):
        open_tiny()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.messages == [f"{tiny_coco.path}: 1 box is left out: empty, not finite or outside the image"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("num_images", 1),
        ("num_images", True),
        ("num_images", 4.0),
        ("num_val_images", -1),
        ("seed", -1),
        ("seed", "0"),
        ("held_out_share", 0),
        ("held_out_share", 1),
        ("held_out_share", True),
        ("held_out_share", float("nan")),
        ("held_out_share", "0.2"),
        ("cache_dir", ""),
        ("cache_dir", 3),
    ],
)
def test_bad_settings_of_generated_data(field: str, value: Any) -> None:
    with pytest.raises(DataError, match=rf"^data\.{field}: must be .*got ") as error:
        GeneratedDataSettings(**{field: value})
    assert repr(value) in str(error.value)


@pytest.mark.parametrize("field", ["train_images", "train_annotations"])
@pytest.mark.parametrize("value", ["", None, 3])
def test_bad_settings_of_coco_data(field: str, value: Any) -> None:
    with pytest.raises(DataError, match=rf"^data\.{field}: must be the .*got "):
        CocoDataSettings(**{"train_images": "a", "train_annotations": "b", field: value})


@pytest.mark.parametrize("image_size", [0, -5, 12.5, True])
def test_bad_image_size(image_size: Any) -> None:
    with pytest.raises(DataError, match=r"image_size: must be an integer of at least 1"):
        open_data(GeneratedDataSettings(), image_size=image_size)


@pytest.mark.parametrize("settings", [GeneratedDataSettings, CocoDataSettings])
def test_the_yaml_files_list_the_settings_and_their_defaults(settings: type) -> None:
    fields = {f.name: f for f in dataclasses.fields(settings)}
    config = OmegaConf.load(CONF / f"{fields['name'].default}.yaml")
    raw = OmegaConf.to_container(config)
    assert isinstance(raw, dict)
    assert list(raw) == list(fields)
    for name, value in raw.items():
        default = fields[str(name)].default
        assert value == (MISSING if default is dataclasses.MISSING else default)
    given = {name: "x" for name, value in raw.items() if value == MISSING}
    composed = OmegaConf.merge(OmegaConf.structured(settings), OmegaConf.merge(config, given))
    assert isinstance(OmegaConf.to_object(composed), settings)


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
