"""Box formats: read as set, and refused where they cannot be what the file has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spinesearch.data.coco.read import read_coco
from spinesearch.data.data_settings import BOX_FORMATS
from spinesearch.data.errors import DataError

SIZE = np.array([96, 64])


def in_format(box: tuple[float, ...], box_format: str) -> list[float]:
    """An xywh box in pixels of an image of `SIZE`, in another format; one number after the other."""
    x, y, width, height = box
    form, _, normalized = box_format.partition("_")
    four = {
        "xywh": [x, y, width, height],
        "xyxy": [x, y, x + width, y + height],
        "cxcywh": [x + width / 2, y + height / 2, width, height],
    }[form]
    sides = [*SIZE, *SIZE] if normalized else [1] * 4
    return [number / side for number, side in zip(four, sides, strict=True)]


def random_boxes(count: int, seed: int = 0) -> list[tuple[float, ...]]:
    """Boxes inside the image, spread over it, each side at least 4 pixels."""
    corners = np.sort(np.random.default_rng(seed).uniform(0, 1, (count, 2, 2)), axis=1) * (SIZE - 4)
    return [(*a.tolist(), *(b - a + 4).tolist()) for a, b in corners]


@pytest.fixture
def document(tiny_coco):
    """Writes a file of one image and these boxes; returns what `read_coco` takes."""

    def write(boxes: list[Any]) -> tuple[Path, Path]:
        tiny_coco.document["images"] = [{"id": 1, "file_name": "7.png", "width": 96, "height": 64}]
        tiny_coco.document["annotations"] = [
            {"image_id": 1, "category_id": 2, "bbox": box, "area": 0.5} for box in boxes
        ]
        tiny_coco.save()
        return tiny_coco.images_dir, tiny_coco.path

    return write


@pytest.mark.parametrize("box_format", BOX_FORMATS)
def test_a_format_is_read_into_the_same_boxes(document, box_format: str) -> None:
    boxes = random_boxes(40)
    data = read_coco(*document([in_format(box, box_format) for box in boxes]), box_format=box_format)
    np.testing.assert_allclose(
        data.boxes_xyxy.flat, [in_format(box, "xyxy") for box in boxes], rtol=1e-5, atol=1e-4
    )
    sides = data.boxes_xyxy.flat[:, 2:] - data.boxes_xyxy.flat[:, :2]
    area = sides.prod(axis=1) if "normalized" in box_format else 0.5  # areas of 0..1 are no square pixels
    np.testing.assert_allclose(data.area.flat, np.broadcast_to(area, 40), rtol=1e-6)
    assert data.notes == ()


# What is in the file, as what it is read, what is wrong with it, and the setting that is proposed.
WRONG = [
    ("xywh_normalized", "xywh", "have no side above a pixel", "xywh_normalized"),
    ("xyxy_normalized", "xywh", "have no side above a pixel", "xyxy_normalized"),
    ("cxcywh_normalized", "xywh", "have no side above a pixel", "cxcywh_normalized"),
    ("xyxy", "xywh", "reach beyond their image by more than a pixel", "xyxy"),
    ("cxcywh", "xywh", "reach beyond their image by more than a pixel", "cxcywh"),
    ("xywh", "xyxy", "end before they begin", "xywh"),
    ("xywh", "xywh_normalized", "reach beyond their image by more than a pixel", "xywh"),
    ("cxcywh_normalized", "xywh_normalized", "reach beyond their image", "cxcywh_normalized"),
    ("xywh_normalized", "xyxy_normalized", "end before they begin", "xywh_normalized"),
]


@pytest.mark.parametrize(("actual", "read_as", "problem", "proposed"), WRONG)
def test_another_format_is_refused_with_the_one_to_set(
    document, actual: str, read_as: str, problem: str, proposed: str
) -> None:
    files = document([in_format(box, actual) for box in random_boxes(400)])
    with pytest.raises(DataError, match=problem) as error:
        read_coco(*files, box_format=read_as)
    message = str(error.value)
    assert message.count("data.box_format=") == 1
    assert message.endswith(f"set data.box_format={proposed}")
    assert "of 400 boxes" in message
    assert "\n" not in message


def test_formats_that_cannot_be_distinguished_are_all_offered(document) -> None:
    """Small objects in the middle are inside their image as corner and size and as centre and size."""
    files = document([[0.5, 0.5, 0.1, 0.1]] * 3)
    expected = r"set data.box_format=xywh_normalized or .*as in YOLO's files: set data.box_format=cxcywh_norm"
    with pytest.raises(DataError, match=expected):
        read_coco(*files)


def test_boxes_that_fit_no_format_are_refused_with_all_of_them(document) -> None:
    with pytest.raises(DataError, match=r"3 of 4 boxes reach beyond.*one of xywh, xyxy, cxcywh, xywh_norm"):
        read_coco(*document([[5, 5, 9, 9], *[[-50, -50, 300, 300]] * 3]))


def test_a_few_odd_boxes_are_cut_off_and_counted(document) -> None:
    boxes: list[Any] = [list(box) for box in random_boxes(30)]
    boxes[:2] = [[90, 60, 7.5, 4], [-3, 5, 9, 9]]  # half a pixel beyond is no more than rounding
    boxes[2] = [3, 3, 1, 0.5]
    boxes[3] = [200, 5, 9, 9]  # outside, which is counted among those that are left out
    data = read_coco(*document(boxes))
    assert data.notes == (
        "boxes that have no side above a pixel: 1 of 30",
        "boxes that reach beyond their image by more than a pixel and are cut off at its edge: 2 of 30",
    )
    assert data.num_dropped_boxes == 1


def corner_boxes(num_beyond: int, count: int = 100) -> list[Any]:
    """xyxy boxes of which so many end outside when they are read as x, y, width, height."""
    return [[50, 30, 80, 60]] * num_beyond + [[5, 5, 30, 30]] * (count - num_beyond)


def test_fewer_boxes_outside_are_enough_where_all_fit_corners(document) -> None:
    assert read_coco(*document(corner_boxes(5))).notes[-1].endswith("cut off at its edge: 5 of 100")
    assert (
        read_coco(*document(corner_boxes(20)))
        .notes[-1]
        .endswith("if that is what they are, set data.box_format=xyxy")
    )
    with pytest.raises(DataError, match=r"30 of 100 boxes reach .*: set data\.box_format=xyxy$"):
        read_coco(*document(corner_boxes(30)))
    one_other = corner_boxes(30)
    one_other[-1] = [30, 30, 5, 5]  # no corners
    assert read_coco(*document(one_other)).notes[-1].endswith("cut off at its edge: 30 of 100")


@pytest.mark.parametrize("box_format", ["xyxy", "cxcywh"])
def test_a_mask_gives_the_same_box_in_every_format(document, tiny_coco, box_format: str) -> None:
    files = document([in_format((5, 6, 20, 10), box_format), None])
    tiny_coco.document["annotations"][1]["segmentation"] = [[5, 6, 25, 6, 25, 16]]
    tiny_coco.save()
    data = read_coco(*files, box_format=box_format)
    np.testing.assert_array_equal(data.boxes_xyxy.flat, [[5, 6, 25, 16]] * 2)


@pytest.mark.parametrize("name", ["bccd", "coco_tiny100"])
def test_real_boxes_are_taken_and_refused_as_anything_else(shared_data, name: str) -> None:
    files = shared_data(name)
    assert not any("boxes that" in note for note in read_coco(*files).notes)
    for box_format in set(BOX_FORMATS) - {"xywh", "cxcywh"}:
        with pytest.raises(DataError, match=r"they look like x, y, width, height in pixels"):
            read_coco(*files, box_format=box_format)
