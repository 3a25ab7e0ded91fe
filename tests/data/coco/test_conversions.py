"""Annotation files in the forms that common tools write: read as meant, and conversions are reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from spinesearch.data.coco.dataset import CocoDataset
from spinesearch.data.coco.read import load_coco, read_coco
from spinesearch.data.errors import DataError

Document = dict[str, Any]


def each(section: str, field: str, convert: Callable[[Any], Any]) -> Callable[[Document], None]:
    """Converts a field of all records of a section that have it."""

    def apply(document: Document) -> None:
        for row in document[section]:
            row[field] = convert(row[field])

    return apply


def put(section: str, index: int, **fields: object) -> Callable[[Document], None]:
    return lambda document: document[section][index].update(fields)


def both(*edits: Callable[[Document], None]) -> Callable[[Document], None]:
    return lambda document: [edit(document) for edit in edits] and None


def repeat_categories(document: Document) -> None:
    """As VIA writes them: the entry of each region's class."""
    entries = {row["id"]: row for row in document["categories"]}
    document["categories"] = [dict(entries[row["category_id"]]) for row in document["annotations"]]


def assert_equal(found: CocoDataset, expected: CocoDataset) -> None:
    assert list(found.images) == list(expected.images)
    assert found.categories == expected.categories
    for name in ("boxes_xyxy", "labels", "is_crowd", "area"):
        np.testing.assert_array_equal(getattr(found, name).flat, getattr(expected, name).flat)
        np.testing.assert_array_equal(getattr(found, name).offsets, getattr(expected, name).offsets)


# What a file is changed into, and what is reported of it; nothing else may change.
SAME: dict[str, tuple[Callable[[Document], None], str]] = {
    "image ids as text": (
        both(each("images", "id", str), each("annotations", "image_id", str)),
        "images.id given as text (4), annotations.image_id given as text (5)",
    ),
    "only the images' as text": (each("images", "id", str), "images.id given as text (4)"),
    "image ids as floats": (
        each("annotations", "image_id", float),
        "annotations.image_id given as floats (5)",
    ),
    "image ids with zeros": (
        each("images", "id", lambda value: f"{value:06d}"),
        "images.id given as text (4)",
    ),
    "category ids": (
        both(each("categories", "id", lambda i: f" {i}.0"), each("annotations", "category_id", float)),
        "categories.id given as text (2), annotations.category_id given as floats (5)",
    ),
    "boxes as text": (
        each("annotations", "bbox", lambda box: [str(number) for number in box]),
        "annotations.bbox given as text (5)",
    ),
    "areas as text": (each("annotations", "area", str), "annotations.area given as text (5)"),
    "crowds as text": (each("annotations", "iscrowd", str), "annotations.iscrowd given as text (5)"),
    "crowds as words": (
        each("annotations", "iscrowd", lambda flag: "False"),
        "annotations.iscrowd given as text (5)",
    ),
    "a crowd as a float": (put("annotations", 0, iscrowd=0.0), "annotations.iscrowd given as floats (1)"),
    "sizes as floats": (each("images", "width", float), "images.width given as floats (4)"),
    "sizes as text": (each("images", "height", str), "images.height given as text (4)"),
    "sizes of -1": (
        both(put("images", 0, width=-1, height=-1), put("images", 2, width=0)),
        "sizes of images read from their files (2)",
    ),
    "no sizes": (
        lambda d: [row.pop("width") + row.pop("height") for row in d["images"]] and None,
        "sizes of images read from their files (4)",
    ),
    "null sizes": (put("images", 1, width=None, height=None), "sizes of images read from their files (1)"),
    "categories per region": (repeat_categories, "categories that repeat an earlier one (3)"),
    "backslashes": (
        each("images", "file_name", lambda name: f".\\{name}"),
        "images.file_name with \\ for / (4)",
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_what_leaves_no_doubt_is_converted_and_said(tiny_coco, name: str) -> None:
    expected = tiny_coco.load()
    assert expected.notes == ()
    edit, said = SAME[name]
    edit(tiny_coco.document)
    found = tiny_coco.load()
    if name == "backslashes":
        assert [image.file_name for image in found.images] == ["./3.png", "./7.png", "./11.png", "./20.png"]
        for row in tiny_coco.document["images"]:
            row["file_name"] = row["file_name"].replace("\\", "/")
        expected = tiny_coco.load()
    assert_equal(found, expected)
    assert found.notes == (f"converted: {said}",)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_files_of_other_encodings_are_read(tiny_coco, encoding: str) -> None:
    expected = tiny_coco.load()
    tiny_coco.path.write_text(json.dumps(tiny_coco.document), encoding=encoding)
    found = load_coco(tiny_coco.images_dir, tiny_coco.path)
    assert_equal(found, expected)
    name = encoding.upper()
    assert found.notes == (() if encoding == "utf-8-sig" else (f"converted: files in {name} (1)",))


NUMBERED = "images.id numbered by sorted text, as not all are integers of 64 bits (4)"


@pytest.mark.parametrize(
    ("new_id", "order"),
    [
        ({7: "b", 3: "d", 11: "a", 20: "c"}, [11, 7, 20, 3]),
        ({7: 2**70 + 7, 3: 2**70 + 3, 11: 2**70 + 4, 20: 2**70}, [20, 3, 11, 7]),
        ({7: "7", 3: "007", 11: 11, 20: 20.0}, [3, 11, 20, 7]),  # two texts of one integer
        ({7: 1, 3: -(2**63) - 1, 11: "9" * 400, 20: 5}, [3, 7, 20, 11]),
    ],
)
def test_ids_that_are_no_integers_are_numbered_by_sorted_text(tiny_coco, new_id, order) -> None:
    boxes = {
        image.id: rows.tolist() for image, rows in zip(*_images_and_boxes(tiny_coco.load()), strict=True)
    }
    each("images", "id", new_id.get)(tiny_coco.document)
    each("annotations", "image_id", new_id.get)(tiny_coco.document)
    data = tiny_coco.load()
    assert [image.id for image in data.images] == [1, 2, 3, 4]
    assert [image.file_name for image in data.images] == [f"{i}.png" for i in order]
    assert [rows.tolist() for rows in data.boxes_xyxy] == [boxes[i] for i in order]
    assert data.notes == (f"converted: {NUMBERED}",)


def _images_and_boxes(data: CocoDataset) -> tuple[Any, Any]:
    return data.images, data.boxes_xyxy


def test_classes_known_by_text_are_numbered_too(tiny_coco) -> None:
    name = {18: "dog", 2: "bicycle"}
    each("categories", "id", name.get)(tiny_coco.document)
    each("annotations", "category_id", name.get)(tiny_coco.document)
    put("categories", 1, name=2)(tiny_coco.document)
    data = tiny_coco.load()
    assert data.categories == ((1, "2"), (2, "dog"))
    assert [labels.tolist() for labels in data.labels] == [[0], [1, 0], [1], [0]]
    assert "categories.name given as numbers (1)" in data.notes[0]


def test_entries_of_one_category_that_differ_are_refused(tiny_coco) -> None:
    repeat_categories(tiny_coco.document)
    tiny_coco.document["categories"][2]["name"] = "cat"
    with pytest.raises(DataError, match=r"categories\[2\]\.id: 2 is taken by an earlier one; give every"):
        tiny_coco.load()


def test_a_record_that_stays_wrong_is_named_with_how_many_are_like_it(tiny_coco) -> None:
    rows = tiny_coco.document["annotations"]
    for row in rows[1:4]:
        row["category_id"] = None
    expected = (
        r"annotations\[1\]\.category_id: must be an integer or a text, but it is null "
        r"\(3 of 5 records are like it\); the object has no class \(VIA"
    )
    with pytest.raises(DataError, match=expected):
        tiny_coco.load()
    for row in rows[1:4]:
        row.update(category_id="2", area="large")
    with pytest.raises(DataError, match=r"annotations\[1\]\.area: must be a number, got 'large' \(3 of 5"):
        tiny_coco.load()


def test_a_pointer_without_an_owner_is_named_whatever_the_ids_are(tiny_coco) -> None:
    for convert, wrong in ((str, "99"), (lambda value: f"image {value}", "image 7 "), (int, "none")):
        document = json.loads(json.dumps(tiny_coco.document))
        each("images", "id", convert)(document)
        each("annotations", "image_id", convert)(document)
        document["annotations"][2]["image_id"] = wrong + "x"
        tiny_coco.path.write_text(json.dumps(document))
        with pytest.raises(DataError, match=rf"\[2\]\.image_id: must be the id of .* got '{wrong}x'; remove"):
            load_coco(tiny_coco.images_dir, tiny_coco.path)


def test_a_file_that_is_called_with_a_backslash_keeps_its_name(tiny_coco) -> None:
    (tiny_coco.images_dir / "3.png").rename(tiny_coco.images_dir / "a\\3.png")
    (tiny_coco.images_dir / "b").mkdir()
    (tiny_coco.images_dir / "7.png").rename(tiny_coco.images_dir / "b" / "7.png")
    put("images", 1, file_name="a\\3.png")(tiny_coco.document)
    put("images", 0, file_name="b\\7.png")(tiny_coco.document)
    data = tiny_coco.load()
    assert [image.file_name for image in data.images][:2] == ["a\\3.png", "b/7.png"]
    assert data.notes == ("converted: images.file_name with \\ for / (1)",)


def test_annotations_without_box_and_mask_are_left_out_and_said(tiny_coco) -> None:
    rows = tiny_coco.document["annotations"]
    for row, box in zip(rows, (None, [], [None] * 4), strict=False):
        row["bbox"] = box
    del rows[3]["bbox"]
    data = tiny_coco.load()
    assert [len(boxes) for boxes in data.boxes_xyxy] == [0, 0, 0, 1]
    assert data.num_dropped_boxes == 0
    assert data.notes == ("4 of 5 annotations left out, which have neither a box nor a mask",)


def test_categories_of_one_name_are_said(tiny_coco) -> None:
    data = tiny_coco.load()
    ids = [key for key, _ in data.categories]
    for row in tiny_coco.document["categories"]:
        row["name"] = "cat"
    (note,) = tiny_coco.load().notes
    named = " and ".join(map(str, ids))
    assert note.startswith(f"categories {named} are all called cat: they are trained as {len(ids)} classes, ")


def test_masks_stand_in_for_boxes_that_are_not_there(tiny_coco) -> None:
    first, second, third, fourth, fifth = tiny_coco.document["annotations"]
    expected = tiny_coco.load()
    del first["bbox"], second["bbox"]
    first["segmentation"] = [[1, 2, 11, 2, 11, 22], [1, 22, 5, 5, 5, 6]]
    second["segmentation"] = {"size": [40, 30], "counts": [0, 1200]}
    third.update(bbox=None, segmentation=[5.5, 5.25, 9.5, 5.25, 9.5, 9.25])
    fourth["segmentation"] = [[0, 0, 1, 1, 2, 0]]  # it has a box
    found = tiny_coco.load()
    assert_equal(found, expected)
    assert found.notes == ("converted: boxes made from masks (3)",)
    fifth.update(bbox=[], segmentation=[["?"]])
    assert tiny_coco.load().notes[1] == "1 of 5 annotations left out, which have neither a box nor a mask"


def test_sizes_of_turned_images_are_as_stored_and_that_is_said(tiny_coco) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tiny_coco.images_dir / "7.jpg", exif=exif)
    put("images", 0, file_name="7.jpg", width=-1, height=-1)(tiny_coco.document)
    data = tiny_coco.load()
    assert data.images[1].width == 40
    assert data.notes == (
        "converted: sizes of images read from their files (1), "
        "of these as stored, although their EXIF orientation turns them (1)",
    )


def test_an_image_whose_size_nothing_says_is_left_to_what_reads_its_pixels(tiny_coco) -> None:
    """It is reported there as missing or broken, or skipped."""
    for row in tiny_coco.document["images"][:2]:
        del row["width"]
    (tiny_coco.images_dir / "7.png").write_bytes(b"no image")
    (tiny_coco.images_dir / "3.png").unlink()
    tiny_coco.save()
    data = read_coco(tiny_coco.images_dir, tiny_coco.path)
    assert len(data.images) == 4
    assert data.num_dropped_boxes == 0
    assert data.notes == ()
    with pytest.raises(DataError, match=r"'3\.png' is missing \(1 of 4"):
        load_coco(tiny_coco.images_dir, tiny_coco.path)
