from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from spinesearch.data.coco.read import load_coco
from spinesearch.data.errors import DataError

Document = dict[str, Any]


def test_images_categories_and_objects_come_sorted_and_contiguous(tiny_coco) -> None:
    data = tiny_coco.load()
    assert [image.id for image in data.images] == [3, 7, 11, 20]
    assert data.categories == ((2, "bicycle"), (18, "dog"))
    assert [labels.tolist() for labels in data.labels] == [[0], [1, 0], [1], [0]]
    np.testing.assert_array_equal(data.boxes_xyxy[1], [[1, 2, 11, 22], [5.5, 5.25, 9.5, 9.25]])
    assert [area.tolist() for area in data.area] == [[600], [100, 8], [300], [120]]
    assert data.boxes_xyxy[0].dtype == np.float32
    assert data.labels[0].dtype == np.int64
    assert not np.concatenate(data.is_crowd).any()
    assert data.num_dropped_boxes == 0


def test_images_without_objects_are_kept(tiny_coco) -> None:
    tiny_coco.document["annotations"] = tiny_coco.document["annotations"][1:2]
    data = tiny_coco.load()
    assert len(data.images) == 4
    assert [len(labels) for labels in data.labels] == [1, 0, 0, 0]
    assert data.boxes_xyxy[3].shape == (0, 4)


def test_boxes_are_clipped_and_unusable_ones_dropped_and_counted(tiny_coco) -> None:
    rows = tiny_coco.document["annotations"]
    rows[1]["bbox"] = [-5, 10, 20, 100]  # image 3 is 30 x 40
    bad = [
        [1, 1, 0, 5],
        [1, 1, 5, 0],
        [8, 8, -4, 4],
        [40, 0, 5, 5],
        [-9, 0, 9, 5],
        [1, 1, float("nan"), 3],
        [0, 0, float("inf"), 3],
        [1e308, 0, 1e308, 3],
        [29.9999999, 0, 1e-9, 3],
    ]
    rows += [{"image_id": 3, "category_id": 2, "bbox": box} for box in bad]
    data = tiny_coco.load()
    np.testing.assert_array_equal(data.boxes_xyxy[0], [[0, 10, 15, 40]])
    assert data.num_dropped_boxes == len(bad)


@pytest.mark.parametrize("area", [-1, -0.5, 1.1e10, 1e300, float("inf")])
def test_an_area_that_would_keep_its_object_from_being_scored_gives_way_to_the_boxs(tiny_coco, area) -> None:
    for row in tiny_coco.document["annotations"]:
        row["area"] = area
    data = tiny_coco.load()
    assert [found.tolist() for found in data.area] == [[1200], [200, 16], [600], [240]]


def test_missing_area_and_iscrowd_have_defaults(tiny_coco) -> None:
    first, second, *_ = tiny_coco.document["annotations"]
    del first["area"], first["iscrowd"]
    second["area"] = float("nan")
    data = tiny_coco.load()
    assert data.area[1][0] == 10 * 20
    assert data.area[0][0] == 30 * 40
    assert not data.is_crowd[1][0]


def test_null_says_the_same_as_leaving_it_out(tiny_coco) -> None:
    for row in tiny_coco.document["annotations"]:
        del row["area"], row["iscrowd"]
    without = tiny_coco.content_key()
    for row in tiny_coco.document["annotations"]:
        row.update(area=None, iscrowd=None)
    assert tiny_coco.content_key() == without
    data = tiny_coco.load()
    assert [area.tolist() for area in data.area] == [[1200], [200, 16], [600], [240]]
    assert not np.concatenate(data.is_crowd).any()


def test_content_key_depends_on_content_alone(tiny_coco, tmp_path) -> None:
    original = tiny_coco.content_key()
    tiny_coco.document["images"].reverse()
    tiny_coco.document["categories"].reverse()
    tiny_coco.document["info"] = {"year": 2017}
    tiny_coco.document["annotations"][0]["segmentation"] = [[1, 2, 3, 4, 5, 6]]
    assert tiny_coco.content_key() == original
    tiny_coco.images_dir = tiny_coco.images_dir.rename(tmp_path / "elsewhere")
    assert tiny_coco.content_key() == original
    for row, field, value in (
        (tiny_coco.document["annotations"][0], "bbox", [1, 2, 10, 20.5]),
        (tiny_coco.document["annotations"][0], "iscrowd", 1),
        (tiny_coco.document["annotations"][0], "category_id", 2),
        (tiny_coco.document["annotations"][0], "area", 5),
        (tiny_coco.document["annotations"][0], "image_id", 3),
        (tiny_coco.document["categories"][0], "name", "cat"),
        (tiny_coco.document["images"][0], "id", 21),
    ):
        before, row[field] = row[field], value
        if field == "id":  # its object goes with it
            tiny_coco.document["annotations"][4]["image_id"] = value
        assert tiny_coco.content_key() != original, field
        row[field] = before
        tiny_coco.document["annotations"][4]["image_id"] = 20
    assert tiny_coco.content_key() == original
    with open(tiny_coco.images_dir / "3.png", "ab") as file:
        file.write(b"\0")
    assert tiny_coco.content_key() != original


def drop_list(name: str) -> Callable[[Document], object]:
    return lambda document: document.pop(name)


def put(section: str, index: int, **fields: object) -> Callable[[Document], object]:
    return lambda document: document[section][index].update(fields)


def drop(section: str, index: int, field: str) -> Callable[[Document], object]:
    return lambda document: document[section][index].pop(field)


# How a document is broken, and what the message must say.
BROKEN: dict[str, tuple[Callable[[Document], object], str]] = {
    "no images": (drop_list("images"), "has no list 'images'"),
    "no annotations": (drop_list("annotations"), "has no list 'annotations'"),
    "no categories": (drop_list("categories"), "has no list 'categories'"),
    "images no list": (lambda d: d.update(images={}), "has no list 'images'"),
    "images empty": (lambda d: d.update(images=[]), "images: the list is empty"),
    "categories empty": (lambda d: d.update(categories=[]), "categories: the list is empty"),
    "row no object": (lambda d: d["annotations"].insert(1, 5), "annotations[1]: must be an object, got 5"),
    "no id": (drop("images", 2, "id"), "images[2].id: must be an integer or a text, but it is missing"),
    "id true": (put("images", 2, id=True), "images[2].id: must be an integer or a text, got True"),
    "id fraction": (put("images", 1, id=7.5), "images[1].id: must be an integer or a text, got 7.5"),
    "id empty": (put("images", 1, id=""), "images[1].id: must be an integer or a text, got ''"),
    "id null": (put("images", 1, id=None), "images[1].id: must be an integer or a text, but it is null"),
    "same image": (put("images", 2, id=7), "images[2].id: 7 is taken by an earlier one"),
    "same file": (put("images", 2, file_name="3.png"), "images[2].file_name: '3.png' is taken by an earlier"),
    "same file, spelt otherwise": (
        put("images", 2, file_name="x/..//./3.png"),
        "images[2].file_name: 'x/..//./3.png' is taken by an earlier",
    ),
    "same category": (put("categories", 1, id=18), "categories[1].id: 18 is taken by an earlier one"),
    "no file name": (
        drop("images", 0, "file_name"),
        "images[0].file_name: must be a text, but it is missing",
    ),
    "same file otherwise": (
        put("images", 2, file_name="./3.png"),
        "images[2].file_name: './3.png' is taken by an earlier",
    ),
    "half a pixel": (
        put("images", 0, width=40.5),
        "images[0].width: must be a whole number of pixels, got 40.5",
    ),
    "text for a width": (put("images", 0, width="wide"), "images[0].width: must be a whole number of pixels"),
    "no name": (drop("categories", 0, "name"), "categories[0].name: must be a text, but it is missing"),
    "bbox an object": (put("annotations", 4, bbox={"x": 1}), "annotations[4].bbox: must be four numbers"),
    "short bbox": (put("annotations", 4, bbox=[1, 2, 3]), "annotations[4].bbox: must be four numbers"),
    "bbox of words": (put("annotations", 2, bbox=[1, 2, "three", 4]), "got [1, 2, 'three', 4]"),
    "bbox of nulls": (put("annotations", 2, bbox=[1, 2, None, 4]), "got [1, 2, None, 4]"),
    "bbox huge": (
        put("annotations", 2, bbox=[10**400, 2, 3, 4]),
        "annotations[2].bbox: must be four numbers",
    ),
    "area text": (put("annotations", 2, area="big"), "annotations[2].area: must be a number, got 'big'"),
    "crowd text": (
        put("annotations", 2, iscrowd="no"),
        "annotations[2].iscrowd: must be 0 or 1, got 'no'",
    ),
    "no such image": (
        put("annotations", 3, image_id=99),
        "annotations[3].image_id: must be the id of one of the file's images, got 99",
    ),
    "no such category": (
        put("annotations", 0, category_id=1),
        "annotations[0].category_id: must be the id of one of the file's categories, got 1",
    ),
    "no annotation": (lambda d: d.update(annotations=[]), "annotations: none of 0 is a usable box"),
    "only crowds": (
        lambda d: [row.update(iscrowd=1) for row in d["annotations"]],
        "annotations: all 5 have iscrowd 1",
    ),
    "no boxes": (
        lambda d: [row.pop("bbox") for row in d["annotations"]],
        "annotations: none of 5 has a bbox or a mask",
    ),
    "only empty boxes": (
        lambda d: [row.update(bbox=[1, 1, 0, 0]) for row in d["annotations"]],
        "annotations: none of 5 is a usable box",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_an_error_of_one_line_that_names_file_and_place(tiny_coco, name: str) -> None:
    breaks, expected = BROKEN[name]
    breaks(tiny_coco.document)
    with pytest.raises(DataError) as error:
        tiny_coco.load()
    message = str(error.value)
    assert expected in message
    assert str(tiny_coco.path) in message
    assert "\n" not in message
    assert ";" in message or "," in message.rpartition(expected)[2], "the next step is missing"


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", "\xff\xfe", "[" * 100_000], ids=repr)
def test_a_file_that_is_not_a_coco_document(tiny_coco, text: str) -> None:
    tiny_coco.path.write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"not JSON|has no list 'images'|is empty") as error:
        load_coco(tiny_coco.images_dir, tiny_coco.path)
    assert "\n" not in str(error.value)
    assert str(tiny_coco.path) in str(error.value)


def test_missing_files_and_folders(tiny_coco, tmp_path) -> None:
    tiny_coco.save()
    nowhere = tmp_path / "nowhere"
    with pytest.raises(DataError, match=r"annotation file .*nowhere: cannot be read \(No such file"):
        load_coco(tiny_coco.images_dir, nowhere)
    with pytest.raises(DataError, match=r"annotation file .*images: cannot be read \(Is a directory"):
        load_coco(tiny_coco.images_dir, tiny_coco.images_dir)
    with pytest.raises(DataError, match=r"images folder .*nowhere: is not a folder; set data.train_images"):
        load_coco(nowhere, tiny_coco.path)
    (tiny_coco.images_dir / "7.png").unlink()
    (tiny_coco.images_dir / "20.png").unlink()
    with pytest.raises(DataError, match=r"'7.png' is missing \(2 of 4 images of .*\); fetch the files"):
        load_coco(tiny_coco.images_dir, tiny_coco.path)


@pytest.mark.parametrize("file_name", ["a\0b.png", "\ud800.png", "x" * 5000])
def test_a_name_no_file_can_have_is_a_missing_file(tiny_coco, file_name: str) -> None:
    tiny_coco.document["images"][0]["file_name"] = file_name
    with pytest.raises(DataError, match=r"is missing \(1 of 4"):
        tiny_coco.load()


def test_a_byte_order_mark_is_no_error(tiny_coco) -> None:
    tiny_coco.path.write_text(json.dumps(tiny_coco.document), encoding="utf-8-sig")
    assert len(load_coco(tiny_coco.images_dir, tiny_coco.path).images) == 4


@pytest.mark.parametrize(
    ("name", "num_images", "num_objects", "num_crowd", "num_classes"),
    [("bccd", 292, 3941, 0, 3), ("coco_tiny100", 50, 470, 5, 80)],
)
def test_real_data_sets_load_as_pycocotools_reads_them(
    shared_data, name: str, num_images: int, num_objects: int, num_crowd: int, num_classes: int
) -> None:
    images_dir, path = shared_data(name)
    data = load_coco(images_dir, path)
    assert (len(data.images), len(data.categories)) == (num_images, num_classes)
    assert sum(map(len, data.labels)) == num_objects
    assert sum(int(crowd.sum()) for crowd in data.is_crowd) == num_crowd
    assert data.num_dropped_boxes == 0
    oracle = COCO(path)
    for i, image in enumerate(data.images):
        rows = oracle.loadAnns(oracle.getAnnIds(imgIds=[image.id]))
        rows.sort(key=lambda row: row["bbox"])
        order = sorted(range(len(rows)), key=lambda j: data.boxes_xyxy[i][j].tolist())
        boxes = data.boxes_xyxy[i][order]
        xywh = np.array([row["bbox"] for row in rows]).reshape(-1, 4)
        np.testing.assert_allclose(boxes[:, 2:] - boxes[:, :2], xywh[:, 2:], atol=0.02)
        assert [data.categories[k][0] for k in data.labels[i][order]] == [row["category_id"] for row in rows]
        np.testing.assert_allclose(data.area[i][order], [row["area"] for row in rows], rtol=1e-6)
