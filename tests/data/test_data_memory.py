"""What a worker that opens a pack holds of it in memory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from spinesearch.data.open import (
    CocoDataSettings,
    open_data,
)

# What a worker's own memory holds of a data set, in a process of its own.
MEMORY = """
import sys
from spinesearch.data.coco.read import load_coco
from spinesearch.data.open import CocoDataSettings
from spinesearch.data.reopen import reopen_data

def own_memory():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon"))

images, annotations, cache_dir, key = sys.argv[1:]
before = own_memory()
settings = CocoDataSettings(train_images=images, train_annotations=annotations, cache_dir=cache_dir)
data = reopen_data(settings, image_size=8, key=key)
opened = own_memory()
load_coco(images, annotations)
print(opened - before, own_memory() - before, data.boxes.nbytes // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux's /proc/PID/status")
def test_a_worker_holds_next_to_nothing_of_the_annotations(tiny_coco, tmp_path) -> None:
    """1,500 images (one file under many names) of 100 objects, which take megabytes once parsed."""
    source = tiny_coco.images_dir / "7.png"
    tiny_coco.document["images"] = [
        {"id": i, "file_name": f"{i}.png", "width": 40, "height": 30} for i in range(100, 1600)
    ]
    tiny_coco.document["annotations"] = [
        {"image_id": 100 + n // 100, "category_id": 2, "bbox": [n % 30, 2, 5, 6]} for n in range(150_000)
    ]
    tiny_coco.save()
    for i in range(100, 1600):
        (tiny_coco.images_dir / f"{i}.png").hardlink_to(source)
    settings = CocoDataSettings(
        train_images=str(tiny_coco.images_dir),
        train_annotations=str(tiny_coco.path),
        cache_dir=str(tmp_path / "cache"),
    )
    key = open_data(settings, image_size=8).key
    arguments = [settings.train_images, settings.train_annotations, str(tmp_path / "cache"), key]
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, *arguments], capture_output=True, text=True, check=True
    )
    opened, parsed, targets = map(int, run.stdout.split())
    assert targets > 2000  # KiB; they alone would show
    assert opened < 2000
    assert parsed > 10 * max(opened, 200)  # what the parsed file takes would have shown
