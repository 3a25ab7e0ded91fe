"""AP of masks: hotcoco and faster-coco-eval held against pycocotools, which is fed as its users feed it."""

import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from spinesearch.data.coco.outlines import encode_mask, mask_areas
from spinesearch.training.measure.case import BoxColumns, CaseMasks, EvaluationCase
from spinesearch.training.measure.evaluators import summary_numbers

SIDE = 150


def ellipse(box: list[float]) -> np.ndarray:
    x, y, width, height = box
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return ((columns - x - width / 2) / (width / 2)) ** 2 + ((rows - y - height / 2) / (height / 2)) ** 2 < 1


def random_case(rng: np.random.Generator) -> EvaluationCase:
    """Ellipses, some crowds, detections that are shifted, of another class or of nothing."""
    truth, found, masks = [], [], ([], [])
    for image in range(4):
        for _ in range(rng.integers(0, 6)):
            box = [*rng.uniform(0, 80, 2), *rng.uniform(4, 70, 2)]
            mask = ellipse(box)
            label = int(rng.integers(2))
            truth.append((image, label, box, float(mask.sum()), rng.random() < 0.2))
            masks[0].append(mask)
            for _ in range(rng.integers(0, 4)):
                near = [value + rng.normal(0, 3) for value in box[:2]] + box[2:]
                score = float(rng.choice([0.9, 0.5, rng.random()]))
                found.append((image, label if rng.random() < 0.9 else 1 - label, near, score))
                masks[1].append(ellipse(near))
    columns = [
        BoxColumns(
            images=np.array([row[0] for row in rows]),
            labels=np.array([row[1] for row in rows]),
            xywh=np.array([row[2] for row in rows]),
        )
        for rows in (truth, found)
    ]
    true_rle, found_rle = (
        [{"size": [SIDE, SIDE], "counts": encode_mask(mask)} for mask in part] for part in masks
    )
    sizes = np.full((4, 2), SIDE)
    return EvaluationCase(
        num_images=4,
        num_classes=2,
        truth=columns[0],
        areas=np.array([row[3] for row in truth]),
        is_crowd=np.array([row[4] for row in truth]),
        found=columns[1],
        scores=np.array([row[3] for row in found]),
        masks=CaseMasks(sizes, true_rle, found_rle, mask_areas(found_rle)),
    )


def reference(case: EvaluationCase) -> np.ndarray:
    """What pycocotools makes of the annotations and of the results file."""
    assert case.masks is not None
    images = [{"id": i + 1, "width": SIDE, "height": SIDE} for i in range(4)]
    annotations = [
        {
            "id": i + 1,
            "image_id": int(case.truth.images[i]) + 1,
            "category_id": int(case.truth.labels[i]) + 1,
            "iscrowd": int(case.is_crowd[i]),
            "area": float(case.areas[i]),
            "segmentation": mask,
            "bbox": case.truth.xywh[i].tolist(),
        }
        for i, mask in enumerate(case.masks.truth)
    ]
    results = [
        {
            "image_id": int(case.found.images[i]) + 1,
            "category_id": int(case.found.labels[i]) + 1,
            "score": float(case.scores[i]),
            "segmentation": mask,
        }
        for i, mask in enumerate(case.masks.found)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
            "info": {},
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return np.asarray(evaluation.stats)


@pytest.mark.parametrize("evaluator", ["hotcoco", "faster_coco_eval", "pycocotools"])
def test_segm_is_that_of_pycocotools(evaluator: str):
    if evaluator == "hotcoco":
        pytest.importorskip("hotcoco")
    rng = np.random.default_rng(0)
    seen = []
    for _ in range(6):
        case = random_case(rng)
        expected = reference(case)
        np.testing.assert_allclose(summary_numbers(evaluator, case), expected, rtol=0, atol=1e-12)
        seen.append(expected[0])
        assert not np.array_equal(expected, summary_numbers(evaluator, replace(case, masks=None)))
    assert 0.05 < np.mean(seen) < 0.95
