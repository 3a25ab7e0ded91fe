"""Data sets for the proxy task's tests: a tiny one made on the spot, and real ones where they are at hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from spinesearch.data.coco.dataset import content_key
from spinesearch.data.coco.read import CocoDataset, file_stats, load_coco

SHARED = Path(__file__).parents[2].parent / "shared"


class TinyCoco:
    """Four PNG images and five objects on disk; a test changes `document` and the files as it likes."""

    def __init__(self, root: Path) -> None:
        self.images_dir = root / "images"
        self.path = root / "instances.json"
        self.images_dir.mkdir(parents=True)
        rng = np.random.default_rng(0)
        sizes = {7: (40, 30), 3: (30, 40), 11: (64, 64), 20: (10, 50)}
        for image_id, (width, height) in sizes.items():
            pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(self.images_dir / f"{image_id}.png")
        boxes = [
            (7, 18, [1, 2, 10, 20]),
            (3, 2, [0, 0, 30, 40]),
            (7, 2, [5.5, 5.25, 4, 4]),
            (11, 18, [10, 10, 20, 30]),
            (20, 2, [2, 2, 6, 40]),
        ]
        self.document: dict[str, Any] = {
            "images": [
                {"id": i, "file_name": f"{i}.png", "width": w, "height": h} for i, (w, h) in sizes.items()
            ],
            "annotations": [
                {"id": n, "image_id": i, "category_id": c, "bbox": b, "area": b[2] * b[3] / 2, "iscrowd": 0}
                for n, (i, c, b) in enumerate(boxes, start=1)
            ],
            "categories": [{"id": 18, "name": "dog"}, {"id": 2, "name": "bicycle"}],
        }

    def save(self) -> None:
        self.path.write_text(json.dumps(self.document))

    def load(self) -> CocoDataset:
        self.save()
        return load_coco(self.images_dir, self.path)

    def content_key(self) -> str:
        data = self.load()
        return content_key(data, file_stats(self.images_dir, data.images.names)[:, 0])


@pytest.fixture
def tiny_coco(tmp_path: Path) -> TinyCoco:
    return TinyCoco(tmp_path / "tiny")


@pytest.fixture
def shared_data() -> Callable[[str], tuple[str, str]]:
    """Images folder and annotation file of a real data set's training split, by the data set's name."""

    def find(name: str) -> tuple[str, str]:
        root = SHARED / "data" / name
        if not root.is_dir():
            pytest.skip(f"the data set {name} is not at {root}")
        return str(root / "train2017"), str(root / "annotations" / "instances_train2017.json")

    return find
