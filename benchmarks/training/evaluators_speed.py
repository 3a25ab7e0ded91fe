"""Time and memory of COCO AP by each evaluator: the table of docs/proxy-task.md.

python benchmarks/training/evaluators_speed.py [NUM_RUNS [NUM_IMAGES [NUM_THREADS]]]      default 3 5000 1
"""

from __future__ import annotations

import importlib.metadata
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spinesearch.data.coco.dataset import CocoDataset, ImageList
from spinesearch.data.ragged import Ragged, offsets_of, ragged_texts
from spinesearch.training.measure.evaluate import coco_metrics
from spinesearch.training.setting_rules import EVALUATORS

NUM_CLASSES, OBJECTS_PER_IMAGE, CROWD_SHARE = 80, 7.36, 0.01  # as in COCO val2017
NUM_DETECTIONS = 100
SIDE = 640.0


def main() -> None:
    """Print a Markdown table with a line per evaluator, each measured in its own process."""
    num_runs, num_images, num_threads = (*map(int, sys.argv[1:4]), *(3, 5000, 1)[len(sys.argv) - 1 :])
    command = f"python benchmarks/training/evaluators_speed.py {num_runs} {num_images} {num_threads}"
    from spinesearch.search.environment import machine

    print(f"{machine()}, {time.strftime('%Y-%m-%d')}, `{command}`\n")
    print("| evaluator | version | seconds, median (least to most) | processor seconds | memory, MB | AP |")
    print("|---|---|---|---|---|---|")
    for name in EVALUATORS[1:]:
        arguments = [name, str(num_runs), str(num_images), str(num_threads)]
        done = subprocess.run(
            [sys.executable, __file__, "--one", *arguments], check=True, stdout=subprocess.PIPE, text=True
        )
        found: dict[str, Any] = json.loads(done.stdout)
        spreads = [
            f"{statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f})"
            for times in (found["seconds"], found["cpu_seconds"])
        ]
        columns = (
            name,
            importlib.metadata.version(name),
            *spreads,
            found["megabytes"],
            f"{found['ap']:.12f}",
        )
        print(f"| {' | '.join(map(str, columns))} |", flush=True)


def measure(name: str, num_runs: int, num_images: int, num_threads: int) -> dict[str, Any]:
    """Seconds of each run from detections as arrays to AP, the most memory it took above the data, the AP."""
    dataset, found = synthetic_case(num_images)
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts from here
    wall, cpu = [], []
    for _ in range(num_runs):
        start, cpu_start = time.perf_counter(), time.process_time()
        metrics = coco_metrics(dataset, range(num_images), *found, evaluator=name, num_threads=num_threads)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - cpu_start)
    return {
        "seconds": wall,
        "cpu_seconds": cpu,
        "megabytes": round(memory("VmHWM") - before),
        "ap": metrics.ap,
    }


def memory(field: str) -> float:
    """A field of this process's status in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def synthetic_case(
    num_images: int,
) -> tuple[CocoDataset, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
    """A data set, and boxes, scores and labels of 100 detections per image, half of them jittered truth."""
    rng = np.random.default_rng(0)
    offsets = offsets_of(rng.poisson(OBJECTS_PER_IMAGE, num_images))
    num_objects = int(offsets[-1])
    truth = random_boxes(rng, num_objects)
    labels = rng.integers(NUM_CLASSES, size=num_objects)
    dataset = CocoDataset(
        images_dir=Path(),
        annotations_path=Path(),
        images=ImageList(
            np.arange(num_images), np.full((num_images, 2), int(SIDE)), ragged_texts([""] * num_images)
        ),
        categories=tuple((k, str(k)) for k in range(NUM_CLASSES)),
        boxes_xyxy=Ragged(truth, offsets),
        labels=Ragged(labels, offsets),
        is_crowd=Ragged(rng.random(num_objects) < CROWD_SHARE, offsets),
        area=Ragged((0.6 * np.prod(truth[:, 2:] - truth[:, :2], axis=1)).astype(np.float32), offsets),
        num_dropped_boxes=0,
    )
    shape = (num_images, NUM_DETECTIONS)
    counts = np.diff(offsets)[:, None]
    source = offsets[:-1, None] + (rng.random(shape) * counts).astype(np.int64)
    source = source.clip(max=num_objects - 1)
    is_near = (rng.random(shape) < 0.5) & (counts > 0)
    sides = np.tile(truth[source][..., 2:] - truth[source][..., :2], 2)
    near = truth[source] + 0.1 * sides * rng.normal(size=(*shape, 4))
    near[..., 2:] = np.maximum(near[..., 2:], near[..., :2])
    noise = random_boxes(rng, num_images * NUM_DETECTIONS).reshape(*shape, 4)
    found = np.where(is_near[..., None], near, noise).astype(np.float32)
    is_right = is_near & (rng.random(shape) < 0.8)
    found_labels = np.where(is_right, labels[source], rng.integers(NUM_CLASSES, size=shape))
    scores = np.where(is_right, 0.3, 0.0) + 0.7 * rng.random(shape)
    return dataset, (found, scores.astype(np.float32), found_labels)


def random_boxes(rng: np.random.Generator, count: int) -> npt.NDArray[np.float32]:
    """Boxes [count, 4] inside the image, their sides spread over all of COCO's size ranges."""
    sides = np.exp(rng.normal(4.0, 1.0, (count, 2))).clip(2, SIDE)
    low = rng.random((count, 2)) * (SIDE - sides)
    return np.concatenate((low, low + sides), axis=1).astype(np.float32)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2], *map(int, sys.argv[3:]))))
    else:
        main()
