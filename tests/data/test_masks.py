"""Masks of a data set: polygons and RLE read, kept beside the pack, drawn; what is no mask is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from spinesearch.data.coco.outlines import decode_mask
from spinesearch.data.errors import DataError
from spinesearch.data.open import CocoDataSettings, GeneratedDataSettings, open_data, open_val_data
from spinesearch.data.reopen import reopen_data

WIDTH, HEIGHT = 40, 30
SQUARE = [[5, 6, 25, 6, 25, 16, 5, 16]]  # 20 x 10 pixels
# Columns 0 and 1 of the image.
RUNS = {"size": [HEIGHT, WIDTH], "counts": [0, 2 * HEIGHT, HEIGHT * (WIDTH - 2)]}


class Files:
    """A data set of six images with an object each; `settings` writes and names it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.document: dict[str, Any] = {
            "images": [
                {"id": i, "file_name": f"{i}.png", "width": WIDTH, "height": HEIGHT} for i in range(1, 7)
            ],
            "annotations": [
                {"id": i, "image_id": i, "category_id": 1, "bbox": [5, 6, 20, 10], "segmentation": SQUARE}
                for i in range(1, 7)
            ],
            "categories": [{"id": 1, "name": "thing"}],
        }
        for image in self.document["images"]:
            Image.new("RGB", (WIDTH, HEIGHT), (image["id"], 0, 0)).save(folder / image["file_name"])

    def settings(self) -> CocoDataSettings:
        path = self.folder / "annotations.json"
        path.write_text(json.dumps(self.document))
        return CocoDataSettings(
            name="six",
            train_images=str(self.folder),
            train_annotations=str(path),
            cache_dir=str(self.folder / "cache"),
            held_out_share=0.5,
            group_by="id",
        )

    @property
    def first(self) -> dict[str, Any]:
        return self.document["annotations"][0]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_every_form_is_kept_beside_the_pack(files: Files):
    compressed = coco_mask.frPyObjects(RUNS, HEIGHT, WIDTH)
    forms = [SQUARE, SQUARE[0], RUNS, {**RUNS, "counts": compressed["counts"].decode()}, SQUARE * 2]
    for annotation, form in zip(files.document["annotations"], forms, strict=False):
        annotation["segmentation"] = form
    settings = files.settings()
    plain = open_data(settings, image_size=128)
    data = open_data(settings, image_size=128, masks=True)
    assert plain.masks is None
    assert data.masks is not None
    square, columns = np.zeros((HEIGHT, WIDTH), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    square[6:16, 5:25] = 1
    columns[:, :2] = 1
    for code, mask in zip(data.masks, [square, square, columns, columns, square, square], strict=True):
        assert np.array_equal(decode_mask(code.tobytes(), WIDTH, HEIGHT), mask)
    # The key of others stays, and each finds its own again, without the annotations.
    assert data.key != plain.key
    assert open_data(settings, image_size=128).key == plain.key
    (files.folder / "annotations.json").rename(files.folder / "moved.json")
    with pytest.raises(DataError, match=r"annotations\.json: cannot be read"):
        reopen_data(settings, image_size=128, key="another")
    (files.folder / "moved.json").rename(files.folder / "annotations.json")
    assert reopen_data(settings, image_size=128, key=plain.key).masks is None
    again = reopen_data(settings, image_size=128, key=data.key, masks=True)
    assert again.masks is not None
    assert np.array_equal(again.masks.flat, data.masks.flat)


def test_another_mask_is_another_key(files: Files):
    settings = files.settings()
    plain, key = open_data(settings, image_size=128).key, open_data(settings, image_size=128, masks=True).key
    files.first["segmentation"] = [[5, 6, 25, 6, 25, 16]]
    settings = files.settings()
    assert open_data(settings, image_size=128).key == plain
    assert open_data(settings, image_size=128, masks=True).key != key


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([[1, 2, 3, 4]], r"annotations\[0\].segmentation: must be polygons of at least three points each"),
        ([[1, 2, 3, 4, 5]], "must be polygons of at least three points each"),
        ([["a", 2, 3, 4, 5, 6]], "must be polygons of at least three points each"),
        ({**RUNS, "size": [40, 30]}, r"must be RLE of the size of its image, \[30, 40\] \(height, width\)"),
        ({**RUNS, "counts": [0, 7]}, "whose counts fill it"),
        ({**RUNS, "counts": "no"}, "whose counts fill it"),
        ([], r"1 of 6 objects have no mask, which detector=mask_rcnn needs, in 1 images \(1.png\)"),
        (None, r"in 1 images \(1.png\); give a file with masks"),
    ],
)
def test_what_is_no_mask_is_refused_and_nothing_written(mask: Any, message: str, files: Files):
    files.first["segmentation"] = mask
    settings = files.settings()
    with pytest.raises(DataError, match=message) as refused:
        open_data(settings, image_size=128, masks=True)
    assert "\n" not in str(refused.value)
    assert not list((files.folder / "cache").rglob("*.npy"))
    open_data(settings, image_size=128)  # of no interest to models of boxes


def test_missing_masks_name_the_images(files: Files):
    for annotation in files.document["annotations"][1:]:
        del annotation["segmentation"]
    with pytest.raises(DataError, match=r"5 of 6 .* in 5 images \(2.png, 3.png, 4.png, ...\); give"):
        open_data(files.settings(), image_size=128, masks=True)


def test_drawn_objects_have_masks_of_their_areas(tmp_path: Path):
    settings = GeneratedDataSettings(num_images=12, num_val_images=3, cache_dir=str(tmp_path))
    for data in (
        open_data(settings, image_size=128, masks=True),
        open_val_data(settings, image_size=128, masks=True),
    ):
        assert data.masks is not None
        place = 0
        for image, boxes, areas in zip(
            data.dataset.images, data.dataset.boxes_xyxy, data.dataset.area, strict=True
        ):
            for box, area in zip(boxes, areas, strict=True):
                mask = decode_mask(data.masks[place].tobytes(), image.width, image.height)
                ys, xs = np.nonzero(mask)
                assert [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] == box.tolist()
                assert mask.sum() == area
                place += 1


def test_masks_of_stored_images_are_turned_as_their_boxes_are():
    # A mask over a box of the upright image, drawn there, is the mask over the stored box, drawn as stored.
    from spinesearch.data.upright import stored_boxes, stored_mask, upright
    from spinesearch.models.heads.paste import paste_mask

    mask = np.zeros((28, 28), np.float32)
    mask[:20, :7] = 1
    for orientation in range(1, 9):
        stored = Image.new("L", (40, 30))
        stored.getexif()[0x0112] = orientation
        file = stored.copy()
        exif = Image.Exif()
        exif[0x0112] = orientation
        file.info["exif"] = exif.tobytes()
        turned, _ = upright(file)
        box = np.array([[4, 6, 22, 24]], np.float32)
        there = paste_mask(mask, box[0], *turned.size)
        (own,) = stored_boxes(box, orientation, 40, 30)
        here = paste_mask(stored_mask(mask, orientation), own, 40, 30)
        drawn = Image.fromarray(here.astype(np.uint8) * 255)
        drawn.info["exif"] = exif.tobytes()
        again, found = upright(drawn)
        assert found == orientation
        assert np.array_equal(np.asarray(again) > 0, there)
