"""What is reported of a data set when it is opened, by whom, how often; and settings of how it is read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from spinesearch.data.cache import default_cache_dir
from spinesearch.data.errors import DataError
from spinesearch.data.open import CocoDataSettings, GeneratedDataSettings, ProxyData, open_data
from spinesearch.data.reopen import reopen_data


@pytest.fixture
def open_tiny(tiny_coco, tmp_path) -> Callable[..., tuple[ProxyData, list[str]]]:
    """Opens the tiny data set; what was said comes with it, without the file's name."""

    def open_it(**fields: Any) -> tuple[ProxyData, list[str]]:
        tiny_coco.save()
        said: list[str] = []
        data = open_data(settings(tiny_coco, tmp_path, **fields), image_size=32, warn=said.append)
        return data, [line.removeprefix(f"{tiny_coco.path}: ") for line in said]

    return open_it


def settings(tiny_coco, tmp_path: Path, **fields: Any) -> CocoDataSettings:
    return CocoDataSettings(
        train_images=str(tiny_coco.images_dir),
        train_annotations=str(tiny_coco.path),
        held_out_share=0.5,
        cache_dir=str(tmp_path / "cache"),
        **fields,
    )


def test_conversions_are_said_once_and_not_by_workers(tiny_coco, open_tiny, tmp_path, caplog) -> None:
    expected, said = open_tiny()
    assert said == []
    for row in tiny_coco.document["annotations"]:
        row["image_id"] = str(row["image_id"])
    data, said = open_tiny()
    line = "converted: annotations.image_id given as text (5)"
    assert said == [line]
    assert data.key == expected.key  # nothing else is trained on
    assert open_tiny()[1] == []
    built = reopen_data(settings(tiny_coco, tmp_path / "elsewhere"), image_size=32, key=data.key)
    assert built.dataset.notes == data.dataset.notes == (line,)
    assert not [record for record in caplog.records if "converted" in record.message]


def test_a_later_process_says_it_too_although_it_reads_the_pack_alone(
    tiny_coco, open_tiny, monkeypatch
) -> None:
    tiny_coco.document["annotations"][0]["iscrowd"] = "0"
    said = [open_tiny()[1]]
    monkeypatch.setattr("spinesearch.data.notices._reported", set())
    monkeypatch.setattr("spinesearch.data.pack.pack.build_pack", None)
    said.append(open_tiny()[1])
    assert said == [["converted: annotations.iscrowd given as text (1)"]] * 2


def test_crowds_are_counted_and_explained_where_they_are_many(tiny_coco, open_tiny) -> None:
    rows = tiny_coco.document["annotations"]
    rows += [{"image_id": 11, "category_id": 2, "bbox": [k, 0, 5, 5]} for k in range(34)]
    rows.append({"image_id": 11, "category_id": 2, "bbox": [0, 0, 9, 9], "iscrowd": 1})
    counted = "objects with iscrowd 1, as crowds neither trained on nor scored: {} of 40"
    assert open_tiny()[1] == [counted.format(1)]
    for row in rows[5:25]:
        row["iscrowd"] = 1
    data, said = open_tiny()
    assert said == [
        f"{counted.format(21)}; set it to 0 in the file if each is one object "
        "(CVAT and others export masks as iscrowd 1)"
    ]
    assert (data.labels >= 0).sum() == 19


def test_a_pack_of_before_there_were_notes_is_still_opened(open_tiny, tmp_path, monkeypatch) -> None:
    data, _ = open_tiny()
    (meta,) = (tmp_path / "cache" / "packs").glob("*/meta.json")
    facts = json.loads(meta.read_text())
    del facts["notes"]
    meta.write_text(json.dumps(facts))
    monkeypatch.setattr("spinesearch.data.pack.pack.build_pack", None)
    assert open_tiny()[0].key == data.key


def test_key_and_pack_of_default_settings_are_those_of_before_there_were_others(tmp_path) -> None:
    """The key is typed out from a release without `box_format` and `max_megapixels`."""
    images, path = tmp_path / "images", tmp_path / "instances.json"
    images.mkdir()
    for i in range(4):
        Image.new("RGB", (40, 30)).save(images / f"{i}.bmp")
    document = {
        "images": [{"id": i, "file_name": f"{i}.bmp", "width": 40, "height": 30} for i in range(4)],
        "categories": [{"id": 3, "name": "cell"}],
        "annotations": [{"image_id": i, "category_id": 3, "bbox": [i, 2, 10, 20]} for i in range(4)],
    }
    path.write_text(json.dumps(document))
    data = open_data(
        CocoDataSettings(
            train_images=str(images),
            train_annotations=str(path),
            held_out_share=0.5,
            cache_dir=str(tmp_path / "cache"),
        ),
        image_size=32,
    )
    assert data.key == "787afa3633ee59c9"
    facts = [3, hashlib.blake2b(path.read_bytes()).hexdigest(), os.path.realpath(images), False]
    digest = hashlib.blake2b(json.dumps(facts).encode()).hexdigest()[:24]
    assert (tmp_path / "cache" / "packs" / f"32px-raw-{digest}").is_dir()


def test_a_box_format_is_a_pack_of_its_own_and_keeps_the_key(tiny_coco, open_tiny) -> None:
    key = open_tiny()[0].key
    for row in tiny_coco.document["annotations"]:
        x, y, width, height = row["bbox"]
        row["bbox"] = [x, y, x + width, y + height]
    data, _ = open_tiny(box_format="xyxy")
    assert data.key == key  # the same boxes are trained on
    other, _ = open_tiny(box_format="xywh")
    assert other.key != key  # the same file, read as it is not meant
    np.testing.assert_array_equal(open_tiny(box_format="xyxy")[0].boxes, data.boxes)


def test_images_above_the_limit_are_refused_or_skipped_as_set(tiny_coco, open_tiny) -> None:
    everything, _ = open_tiny()
    expected = (
        r"11\.png: has 64 x 64 pixels.* where data\.max_megapixels is 0\.003; raise it .*, or set data\."
    )
    with pytest.raises(DataError, match=expected):
        open_tiny(max_megapixels=0.003)
    skipped, _ = open_tiny(max_megapixels=0.003, skip_broken=True)
    assert [image.id for image in skipped.dataset.images] == [3, 7, 20]
    assert skipped.key != everything.key
    whole, _ = open_tiny(max_megapixels=0.0041, skip_broken=True)  # not the pack without the image
    assert whole.key == everything.key


def test_where_all_images_are_missing_skipping_says_why(tiny_coco, open_tiny) -> None:
    for row in tiny_coco.document["images"]:
        row["file_name"] = row["file_name"].replace("png", "PNG")
    with pytest.raises(
        DataError, match=r"\(4 of 4 images .*; the names end in '\.PNG' and the files in '\.png'"
    ):
        open_tiny(skip_broken=True)


def test_a_cache_folder_that_cannot_be_looked_at_is_named_with_its_setting(tmp_path) -> None:
    generated = GeneratedDataSettings(num_images=2, cache_dir=str(tmp_path / ("x" * 300)))
    with pytest.raises(
        DataError, match=r"^cache folder .*: cannot be written \(File name too long\); set data"
    ):
        open_data(generated, image_size=32)


def test_a_user_without_a_home_folder_reads_what_to_set(monkeypatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SPINESEARCH_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(DataError, match=r"^cache folder: this user has no home folder .*set data\.cache_dir"):
        default_cache_dir()
