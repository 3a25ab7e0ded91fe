"""Small COCO data sets whose files are copies of a few pictures, as exports of labelling tools make them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from spinesearch.data.open import CocoDataSettings, ProxyData, open_data

Said = list[str]


def picture(seed: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """A picture of soft blotches, unlike that of any other seed."""
    blotches = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(blotches).resize(size, Image.Resampling.BICUBIC)


def save_set(
    folder: Path,
    files: Iterable[tuple[str, Image.Image]],
    *,
    records: Sequence[dict[str, Any]] = (),
    categories: Sequence[dict[str, Any]] = ({"id": 1, "name": "thing"},),
    first_id: int = 1,
) -> tuple[Path, Path]:
    """Writes the files, each with one object, and their annotations; the images folder and the file.

    Args:
        folder: gets them; it need not exist.
        files: name and image of each.
        records: further fields of the image records, in the same order.
        categories: the first is that of all objects.
        first_id: ids count up from here.
    """
    images_dir, path = folder / "images", folder / "instances.json"
    rows = []
    for i, (name, image) in enumerate(files):
        (images_dir / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(images_dir / name)
        row = {"id": first_id + i, "file_name": name, "width": image.width, "height": image.height}
        rows.append(row | (records[i] if records else {}))
    boxes = [
        {"image_id": row["id"], "category_id": categories[0]["id"], "bbox": [5, 6, 40, 30]} for row in rows
    ]
    path.write_text(json.dumps({"images": rows, "annotations": boxes, "categories": list(categories)}))
    return images_dir, path


def roboflow_files(num_pictures: int, num_copies: int = 3) -> list[tuple[str, Image.Image]]:
    """Turned copies, which no comparison of pixels finds, of several pictures under Roboflow's names."""
    return [
        (f"shot{n}_jpg.rf.{n:016x}{copy:016x}.png", picture(n).rotate(50 * copy))
        for n in range(num_pictures)
        for copy in range(num_copies)
    ]


def settings_for(folder: Path, cache_dir: Path, **fields: Any) -> CocoDataSettings:
    """Settings of what `save_set` wrote into a folder."""
    return CocoDataSettings(
        **{
            "train_images": str(folder / "images"),
            "train_annotations": str(folder / "instances.json"),
            "cache_dir": str(cache_dir),
            "held_out_share": 0.3,
            **fields,
        }
    )


def open_and_note(settings: CocoDataSettings, said: Said | None = None) -> ProxyData:
    """The data; what is reported and warned of goes to `said`, but for what is written."""

    def report(line: str) -> None:
        if said is not None and not line.startswith(("packing", "packed")):
            said.append(f"reported: {line}")

    def warn(line: str) -> None:
        if said is not None:
            said.append(f"warned: {line}")

    return open_data(settings, image_size=32, warn=warn, report=report)
