"""Data sets as odd as they come, from the files to a score."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_task import TINY_TASK

from spinesearch.data.open import CocoDataSettings, ProxyData, open_data
from spinesearch.proxy_task.task import ProxyTask
from spinesearch.space import SPINENET_49

TINY = replace(TINY_TASK, num_steps=3, batch_size=3, scale_jitter=(0.5, 2.0))


def save_odd_images(folder: Path) -> list[dict[str, Any]]:
    """Twelve image files of twelve kinds; their records, with ids that have gaps."""
    rng = np.random.default_rng(0)
    grey = Image.fromarray(rng.integers(0, 256, (60, 90), dtype=np.uint8))
    rgb = Image.merge("RGB", [grey.rotate(angle) for angle in (0, 90, 180)])
    wide = Image.fromarray(np.asarray(grey).astype(np.uint16) << 8)
    exif = Image.Exif()
    exif[0x0112] = 6
    images: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("grey.jpg", grey, {}),
        ("grey.png", grey, {}),
        ("cmyk.jpg", rgb.convert("CMYK"), {}),
        ("wide.png", wide, {}),
        ("wide.tiff", wide, {}),
        ("palette.gif", rgb.quantize(32), {"transparency": 1}),
        ("palette.png", rgb.quantize(32), {"transparency": bytes(range(32))}),
        ("alpha.png", rgb.convert("RGBA"), {}),
        ("bilevel.png", grey.convert("1"), {}),
        ("as stored.jpg", rgb, {"exif": exif}),
        ("as shown.jpg", rgb, {"exif": exif}),
        ("ünïcödé/progressive.jpg", rgb, {"progressive": True}),
    ]
    records = []
    for n, (name, image, options) in enumerate(images):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(folder / name, **options)
        size = {"width": 60, "height": 90} if name == "as shown.jpg" else {"width": 90, "height": 60}
        records.append({"id": 10**9 + 7 * n, "file_name": name, **size})
    return records


def odd_document(images: list[dict[str, Any]], categories: list[dict[str, Any]]) -> dict[str, Any]:
    """Every image with a box, but the first; crowds as RLE and polygon; boxes that are none."""
    polygon = [[1, 1, 40, 1, 40, 40, 1, 40]]
    rle = {"counts": [100, 5300], "size": [60, 90]}
    ids = [row["id"] for row in images]
    kind = categories[-1]["id"]
    rows: list[dict[str, Any]] = [
        {"image_id": i, "category_id": categories[n % len(categories)]["id"], "bbox": [3, 4, 40.5, 30]}
        for n, i in enumerate(ids[1:])
    ]
    rows += [
        {"image_id": ids[1], "category_id": kind, "bbox": [0, 0, 60, 60], "iscrowd": 1, "segmentation": rle},
        {
            "image_id": ids[2],
            "category_id": kind,
            "bbox": [0, 0, 60, 60],
            "iscrowd": 1,
            "segmentation": polygon,
        },
        {"image_id": ids[3], "category_id": kind, "bbox": [5, 5, 9, 9], "segmentation": polygon},
    ]
    unusable = ([9, 9, 0, 4], [9, 9, 4, -4], [200, 9, 4, 4], [-9, 9, 5, 4], [float("nan"), 1, 2, 3])
    rows += [{"image_id": ids[4], "category_id": kind, "bbox": list(box)} for box in unusable]
    rows += [{"image_id": ids[5], "category_id": kind, "bbox": [k % 80, k % 50, 6, 6]} for k in range(300)]
    return {"images": images, "annotations": rows, "categories": categories}


def open_odd(
    tmp_path: Path, categories: list[dict[str, Any]], reported: list[str], **fields: Any
) -> ProxyData:
    document = odd_document(save_odd_images(tmp_path / "images"), categories)
    (tmp_path / "instances.json").write_text(json.dumps(document))
    settings = CocoDataSettings(
        train_images=str(tmp_path / "images"),
        train_annotations=str(tmp_path / "instances.json"),
        held_out_share=0.4,
        cache_dir=str(tmp_path / "cache"),
        **fields,
    )
    return open_data(settings, image_size=128, warn=reported.append)


SPARSE = [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car"}, {"id": 2**40, "name": "stop sign"}]
ONE = [{"id": 5, "name": "cell"}]


@pytest.mark.parametrize("storage", ["raw", "jpeg"])
@pytest.mark.parametrize("categories", [SPARSE, ONE])
def test_every_oddity_at_once_is_trained_and_scored(
    tmp_path: Path, categories: list[dict[str, Any]], storage: str
) -> None:
    reported: list[str] = []
    data = open_odd(tmp_path, categories, reported, storage=storage)
    *left_out, copies = reported  # the same picture in twelve kinds of files
    assert left_out == [
        f"{tmp_path}/instances.json: {line}"
        for line in (
            "objects with iscrowd 1, as crowds neither trained on nor scored: 2 of 314",
            "5 boxes are left out: empty, not finite or outside the image",
        )
    ]
    assert " 7 of 7 held-out images look like a training image " in copies
    assert data.num_classes == len(categories)
    assert data.labels.shape == (12, 301)
    assert (data.labels >= 0).sum(axis=1).tolist() == [0, 1, 1, 2, 1, 301, 1, 1, 1, 1, 1, 1]
    assert sum(int(crowd.sum()) for crowd in data.dataset.is_crowd) == 2
    shown = [image.file_name for image in data.dataset.images].index("as shown.jpg")
    assert data.pack.sizes[shown].tolist() == [85, 128]
    result = ProxyTask(TINY, data).score(SPINENET_49, 0)
    assert np.isfinite(result.loss)
    assert 0 <= result.ap <= 1


def test_a_batch_without_any_object_is_trained_on(tmp_path: Path) -> None:
    data = open_odd(tmp_path, SPARSE, [])
    empty = np.zeros_like(data.labels) - 1
    no_objects = data.__class__(
        **{
            **{name: getattr(data, name) for name in data.__slots__},
            "labels": empty,
            "boxes": np.zeros_like(data.boxes),
        }
    )
    assert np.isfinite(ProxyTask(TINY, no_objects).score(SPINENET_49, 0).loss)
