"""The data set the tool draws itself, in COCO's format: five classes of shapes on textured grounds.

It exists so that a search runs minutes after installation and that tests need no download. An image is a
function of (seed, split, its number), whatever the number of images.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from spinesearch.data.cache import MOVE_HINT, build_lock, partial_path, publish
from spinesearch.data.drawn.drawing import CLASS_NAMES, OBJECT_SIZES, draw_picture
from spinesearch.data.errors import DataError

GENERATOR_VERSION = 2  # count up when the same seed would draw other images
_SPLITS = ("train", "val")


def generate_dataset(
    root: Path,
    *,
    num_images: int,
    num_val_images: int,
    seed: int,
    object_sizes: str = "narrow",
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Folder of the generated data set: `train/`, `val/` and `annotations/instances_{train,val}.json`.

    Drawn by the first process to ask; others wait, later ones find it. An interrupted drawing is never used.

    Args:
        root: holds one folder per data set; made if there is none.
        num_images: in train/.
        num_val_images: in val/.
        seed: not negative.
        object_sizes: a name in `OBJECT_SIZES`.
        progress: called with images done and their number, by the process that draws.

    Raises:
        DataError: `root` cannot be written.
    """
    folder = generated_folder(
        root, num_images=num_images, num_val_images=num_val_images, seed=seed, object_sizes=object_sizes
    )
    if os.path.isdir(folder):  # False where it cannot be looked at, which the lock then reports
        return folder
    with build_lock(folder):
        if not os.path.isdir(folder):
            partial = partial_path(folder)
            try:
                if partial.exists():  # of a process that was killed
                    shutil.rmtree(partial)
                _write_dataset(
                    partial,
                    (num_images, num_val_images),
                    seed,
                    object_sizes,
                    progress or (lambda done, total: None),
                )
                publish(folder)
            except OSError as error:
                raise DataError(
                    f"cache folder {root}: cannot be written ({error.strerror or error}); {MOVE_HINT}"
                ) from error
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return folder


def generated_folder(
    root: Path, *, num_images: int, num_val_images: int, seed: int, object_sizes: str = "narrow"
) -> Path:
    """Where `generate_dataset` puts the data set of these arguments."""
    kind = "" if object_sizes == "narrow" else f"{object_sizes}-"  # folders of earlier releases have no kind
    return root / f"shapes-v{GENERATOR_VERSION}-{kind}seed{seed}-{num_images}-{num_val_images}"


def _write_dataset(
    folder: Path,
    counts: tuple[int, int],
    seed: int,
    object_sizes: str,
    progress: Callable[[int, int], None],
) -> None:
    (folder / "annotations").mkdir(parents=True)
    kind = "shapes" if object_sizes == "narrow" else f"shapes of {object_sizes} sizes"
    done = 0
    for split, count in zip(_SPLITS, counts, strict=True):
        (folder / split).mkdir()
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number in range(1, count + 1):
            picture = draw_picture(
                np.random.default_rng((seed, _SPLITS.index(split), number)), OBJECT_SIZES[object_sizes]
            )
            height, width, _ = picture.pixels.shape
            name = f"{number:06d}.jpg"
            Image.fromarray(picture.pixels).save(folder / split / name, quality=92, subsampling=0)
            images.append({"id": number, "file_name": name, "width": width, "height": height})
            objects = zip(picture.labels, picture.boxes_xywh, picture.areas, picture.masks, strict=True)
            for label, box, area, mask in objects:
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": label + 1,
                        "bbox": box,
                        "area": area,
                        "iscrowd": 0,
                        "segmentation": {"size": [height, width], "counts": mask},
                    }
                )
            done += 1
            progress(done, sum(counts))
        document = {
            "info": {
                "description": f"spinesearch generated {kind} v{GENERATOR_VERSION}, seed {seed}, {split}"
            },
            "licenses": [],
            "images": images,
            "annotations": annotations,
            "categories": [
                {"id": i, "name": name, "supercategory": "shape"}
                for i, name in enumerate(CLASS_NAMES, start=1)
            ],
        }
        (folder / "annotations" / f"instances_{split}.json").write_text(
            json.dumps(document), encoding="utf-8"
        )
    os.sync()  # the whole of it on disk before it is published, in one go
