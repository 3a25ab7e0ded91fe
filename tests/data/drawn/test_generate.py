from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from spinesearch.data import data_settings
from spinesearch.data.coco.read import load_coco
from spinesearch.data.drawn.drawing import CLASS_NAMES, OBJECT_SIZES, draw_picture
from spinesearch.data.drawn.generate import generate_dataset
from spinesearch.data.drawn.shapes import OUTLINES, outline_distance
from spinesearch.data.errors import DataError


def annotations(folder: Path, split: str = "train") -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "annotations" / f"instances_{split}.json").read_text())
    return document


def pixels(folder: Path, number: int, split: str = "train") -> np.ndarray:
    return np.asarray(Image.open(folder / split / f"{number:06d}.jpg"))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    return generate_dataset(tmp_path_factory.mktemp("drawn"), num_images=300, num_val_images=10, seed=0)


def test_the_layout_is_cocos_and_pycocotools_reads_it(drawn: Path, capsys) -> None:
    for split, count in (("train", 300), ("val", 10)):
        oracle = COCO(str(drawn / "annotations" / f"instances_{split}.json"))
        data = load_coco(drawn / split, drawn / "annotations" / f"instances_{split}.json")
        assert len(data.images) == len(oracle.getImgIds()) == len(list((drawn / split).iterdir())) == count
        assert [name for _, name in data.categories] == list(CLASS_NAMES)
        assert data.num_dropped_boxes == 0
        for i, image in enumerate(data.images):
            rows = oracle.loadAnns(oracle.getAnnIds(imgIds=[image.id]))
            x, y, w, h = np.array([row["bbox"] for row in rows]).T
            np.testing.assert_array_equal(data.boxes_xyxy[i], np.stack([x, y, x + w, y + h], axis=1))
            assert all(
                row["iscrowd"] == 0 and coco_mask.area(oracle.annToRLE(row)) == row["area"] for row in rows
            )


def test_images_have_the_promised_sizes_and_objects(drawn: Path) -> None:
    document = annotations(drawn)
    long_sides = np.array([max(row["width"], row["height"]) for row in document["images"]])
    assert 128 <= long_sides.min() < 140
    assert 190 < long_sides.max() <= 200
    for row in document["images"][:20]:
        assert pixels(drawn, row["id"]).shape == (row["height"], row["width"], 3)
    per_image = np.bincount([row["image_id"] for row in document["annotations"]], minlength=301)[1:]
    assert per_image.min() >= 1
    assert 8 <= per_image.max() <= 10
    extent = np.array([max(row["bbox"][2:]) for row in document["annotations"]])
    assert extent.max() <= 101
    assert np.mean((extent >= 20) & (extent <= 70)) > 0.6
    per_class = np.bincount([row["category_id"] for row in document["annotations"]])[1:]
    assert per_class.min() > 0.8 * per_class.mean()


def test_narrow_images_are_those_of_earlier_releases(drawn: Path) -> None:
    """Runs of November 2026 resume on the same data: a stray draw would change boxes."""
    assert drawn.name == "shapes-v2-seed0-300-10"
    boxes = json.dumps([row["bbox"] for row in annotations(drawn)["annotations"]])
    assert hashlib.sha256(boxes.encode()).hexdigest()[:12] == "d6994e1152ef"


@pytest.fixture(scope="module")
def areas() -> dict[str, np.ndarray]:
    """Visible pixels of the objects of 20 images of each kind."""
    return {
        name: np.concatenate([draw_picture(np.random.default_rng((0, i)), sizes).areas for i in range(20)])
        for name, sizes in OBJECT_SIZES.items()
    }


def test_kinds_of_sizes_are_what_they_are_called(areas: dict[str, np.ndarray]) -> None:
    assert tuple(OBJECT_SIZES) == data_settings.OBJECT_SIZES
    shares = {
        name: (np.mean(area < 32**2), np.mean((area >= 32**2) & (area < 96**2)), np.mean(area >= 96**2))
        for name, area in areas.items()
    }
    assert min(shares["wide"]) > 0.15  # COCO scores each of its three kinds
    assert shares["small"][0] > 0.9
    assert shares["medium"][1] > 0.5 > shares["medium"][0]
    assert shares["large"][0] == 0 < 0.05 < shares["large"][2]


def test_the_kind_of_sizes_is_part_of_the_data_set(tmp_path: Path) -> None:
    folders = [
        generate_dataset(tmp_path, num_images=2, num_val_images=0, seed=0, object_sizes=name)
        for name in OBJECT_SIZES
    ]
    assert len(set(folders)) == len(OBJECT_SIZES)
    boxes = [json.dumps(annotations(folder)["annotations"]) for folder in folders]
    assert len(set(boxes)) == len(OBJECT_SIZES)


def test_the_same_seed_gives_the_same_data_set_in_another_process(drawn: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from spinesearch.data.drawn.generate import generate_dataset; "
        "print(generate_dataset(Path(sys.argv[1]), num_images=300, num_val_images=10, seed=0))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True, check=True
    )
    again = Path(run.stdout.strip())
    assert again.name == drawn.name
    for split in ("train", "val"):
        assert annotations(again, split) == annotations(drawn, split)
    for number in (1, 150, 300):
        np.testing.assert_array_equal(pixels(again, number), pixels(drawn, number))


def test_an_image_depends_on_seed_split_and_number_alone(drawn: Path, tmp_path: Path) -> None:
    fewer = generate_dataset(tmp_path, num_images=3, num_val_images=3, seed=0)
    other = generate_dataset(tmp_path, num_images=3, num_val_images=3, seed=1)
    for number in (1, 2, 3):
        for split in ("train", "val"):
            np.testing.assert_array_equal(pixels(fewer, number, split), pixels(drawn, number, split))
        assert annotations(fewer)["images"] == annotations(drawn)["images"][:3]
    assert annotations(fewer)["annotations"] != annotations(fewer, "val")["annotations"]
    assert annotations(fewer)["annotations"] != annotations(other)["annotations"]


def test_it_is_drawn_once(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    for _ in range(2):
        generate_dataset(
            tmp_path, num_images=2, num_val_images=1, seed=0, progress=lambda *step: calls.append(step)
        )
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        DataError, match=r"cache folder .*file.*: cannot be written \(.*\); set data\.cache_dir"
    ):
        generate_dataset(tmp_path / "file" / "root", num_images=2, num_val_images=0, seed=0)


@pytest.mark.parametrize("sizes", ["narrow", "wide"])
def test_objects_can_be_seen_and_boxes_are_tight(sizes: str) -> None:
    for seed in range(100 if sizes == "narrow" else 20):
        picture = draw_picture(np.random.default_rng(seed), OBJECT_SIZES[sizes])
        height, width, _ = picture.pixels.shape
        assert len(picture.labels) == len(picture.boxes_xywh) == len(picture.areas)
        for (x, y, w, h), area in zip(picture.boxes_xywh, picture.areas, strict=True):
            assert 0 <= x < x + w <= width
            assert 0 <= y < y + h <= height
            assert 0.15 * w * h < area <= w * h  # the least is a ring of which an arc is left


def test_an_object_differs_from_what_surrounds_it(drawn: Path) -> None:
    document = annotations(drawn)
    unlike = []
    for row in document["annotations"]:
        x, y, w, h = row["bbox"]
        image = pixels(drawn, row["image_id"]).astype(float)
        around = image[max(y - 4, 0) : y + h + 4, max(x - 4, 0) : x + w + 4]
        inside = image[y : y + h, x : x + w]
        outside = (around.sum((0, 1)) - inside.sum((0, 1))) / max(around[..., 0].size - w * h, 1)
        unlike.append(np.abs(inside - outside).sum(2).max())
    assert np.percentile(unlike, 2) > 100  # of 3 * 255


@pytest.mark.parametrize("name", OUTLINES)
@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_outlines_fill_the_area_that_geometry_gives(name: str, angle: float) -> None:
    # Areas in the unit circle; the star is ten triangles between its centre, a tip and a notch (0.45).
    area = {
        "disk": math.pi,
        "ring": math.pi * (1 - 0.5**2),
        "triangle": 3 * math.sin(2 * math.pi / 3) / 2,
        "square": 2.0,
        "star": 10 * 0.45 * math.sin(math.pi / 5) / 2,
    }[name]
    grid = np.arange(-64, 65, dtype=np.float32)
    distance = outline_distance(OUTLINES[name], grid, grid, radius=60, stretch=0.8, angle=angle)
    inside = distance < 0
    assert abs(inside.sum() / (60 * 60 * 0.8) - area) < 0.01 * area
    assert np.hypot(grid[:, None], grid[None, :])[inside].max() <= 60
    assert distance.dtype == np.float32
