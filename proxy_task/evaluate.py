"""COCO average precision of detections on some images of a data set, by pycocotools.

Shapes: N images, D detections per image (score 0 in padded rows).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from spinesearch.proxy_task.coco import CocoDataset


@dataclass(frozen=True, kw_only=True, slots=True)
class CocoMetrics:
    """COCO's summary in [0, 1]; None where the images hold no object that a number speaks of."""

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ar100: float | None


# Where COCOeval.summarize puts them among its twelve numbers.
_STATS = {"ap": 0, "ap50": 1, "ap75": 2, "ap_small": 3, "ap_medium": 4, "ap_large": 5, "ar100": 8}


def coco_metrics(
    dataset: CocoDataset,
    image_index: Sequence[int] | npt.NDArray[np.integer[Any]],
    boxes: npt.NDArray[np.floating[Any]],
    scores: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[np.integer[Any]],
) -> CocoMetrics:
    """Metrics of the detections on these images of the data set.

    A class without any object in these images does not count, as always with COCO. Without a single
    detection every defined number is 0.

    Args:
        dataset: where the true objects come from; crowd regions count as COCO has it.
        image_index: `[N]`, positions in ``dataset.images``.
        boxes: `[N, D, 4]`, xyxy in original pixels.
        scores: `[N, D]`; 0 is no detection.
        labels: `[N, D]`, positions in ``dataset.categories``.
    """
    images = [{"id": dataset.images[i].id} for i in image_index]
    categories = [{"id": category_id, "name": name} for category_id, name in dataset.categories]
    truth = [row for i in image_index for row in _true_objects(dataset, int(i))]
    found = _detections(dataset, image_index, boxes, scores, labels)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        evaluation = COCOeval(
            _coco(images, categories, truth), _coco(images, categories, found), iouType="bbox"
        )
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats = [float(value) for value in evaluation.stats]
    return CocoMetrics(**{name: None if stats[i] < 0 else stats[i] for name, i in _STATS.items()})


def _true_objects(dataset: CocoDataset, i: int) -> list[dict[str, Any]]:
    return [
        _annotation(dataset, i, box, label, area=float(area), iscrowd=int(is_crowd))
        for box, label, area, is_crowd in zip(
            dataset.boxes_xyxy[i], dataset.labels[i], dataset.area[i], dataset.is_crowd[i], strict=True
        )
    ]


def _detections(
    dataset: CocoDataset,
    image_index: Sequence[int] | npt.NDArray[np.integer[Any]],
    boxes: npt.NDArray[np.floating[Any]],
    scores: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[np.integer[Any]],
) -> list[dict[str, Any]]:
    rows = []
    for n, k in np.argwhere(scores > 0):
        x1, y1, x2, y2 = boxes[n, k].tolist()
        area = (x2 - x1) * (y2 - y1)
        row = _annotation(dataset, int(image_index[n]), boxes[n, k], labels[n, k], area=area, iscrowd=0)
        rows.append({**row, "score": float(scores[n, k])})
    return rows


def _annotation(
    dataset: CocoDataset, i: int, box: npt.NDArray[Any], label: int, *, area: float, iscrowd: int
) -> dict[str, Any]:
    x1, y1, x2, y2 = box.tolist()
    return {
        "image_id": dataset.images[i].id,
        "category_id": dataset.categories[label][0],
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": area,
        "iscrowd": iscrowd,
    }


def _coco(images: list[Any], categories: list[Any], annotations: list[dict[str, Any]]) -> Any:
    """The index of pycocotools over these records."""
    coco = COCO()
    # COCOeval takes a detection matched with id 0 for unmatched, so ids count from 1 whatever the file has.
    rows = [{**row, "id": i} for i, row in enumerate(annotations, start=1)]
    coco.dataset = {"images": images, "categories": categories, "annotations": rows}
    coco.createIndex()
    return coco
