"""COCO's twelve summary numbers, by any of three libraries that agree on them to 1e-12.

pycocotools is the reference. hotcoco gives its numbers to the last bit, in a hundredth of the time;
faster-coco-eval leaves a guard against 0 / 0 out of the precision, and so differs by up to 2.2e-16.

Images, classes and boxes are numbered from 1 in what the libraries see, whatever a file has: pycocotools
counts a box matched with id 0 as unmatched, and hotcoco has no negative ids.
"""

from __future__ import annotations

import contextlib
import io
import os
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from spinesearch.training.measure.case import BoxColumns, EvaluationCase, Floats

_RESULT_FIELDS = ("image_id", "category_id", "score", "segmentation")

_REQUIREMENTS = {
    "hotcoco": "hotcoco>=1.3",
    "faster_coco_eval": "faster-coco-eval>=1.8",
    "pycocotools": "pycocotools",
}


def find_evaluator(name: str, setting: str = "proxy_task.evaluator") -> str:
    """The library that a setting names: "auto" is the fastest that this machine has.

    Raises:
        ValueError: the one requested cannot be imported here.
    """
    if name == "auto":
        return next(library for library in _REQUIREMENTS if _is_here(library))
    if not _is_here(name):
        raise ValueError(
            f"{setting}: {name} cannot be imported; pip install '{_REQUIREMENTS[name]}', or set "
            f"{setting}=auto, which takes the fastest there is and gives the same numbers"
        )
    return name


def summary_numbers(evaluator: str, case: EvaluationCase, *, num_threads: int = 1) -> Floats:
    """COCO's numbers `[12]` in the order of ``COCOeval.stats``, in [0, 1], and -1 where there is none.

    Args:
        evaluator: as `find_evaluator` takes it.
        case: what to compare.
        num_threads: of hotcoco, the others use one. Its threads start with the first call in a process and
            stay as many; ``RAYON_NUM_THREADS`` in the environment takes precedence.

    Raises:
        ValueError: as `find_evaluator`.
    """
    match find_evaluator(evaluator):
        case "hotcoco":
            return _hotcoco(case, num_threads)
        case "faster_coco_eval":
            return _faster_coco_eval(case)
        case _:
            return _pycocotools(case)


@cache
def _is_here(library: str) -> bool:
    try:
        match library:
            case "hotcoco":
                import hotcoco

                return hasattr(hotcoco.COCO, "from_arrays")  # since 1.3
            case "faster_coco_eval":
                import faster_coco_eval  # noqa: F401
            case _:
                import pycocotools.cocoeval  # noqa: F401
    except ImportError:  # not installed, or not for this machine
        return False
    return True


def _hotcoco(case: EvaluationCase, num_threads: int) -> Floats:
    import hotcoco

    _start_rayon(num_threads)
    return _run_hotcoco(hotcoco, case)


def _run_hotcoco(hotcoco: Any, case: EvaluationCase) -> Floats:
    images, categories = _images_and_categories(case)
    truth = hotcoco.COCO.from_arrays(
        images,
        categories,
        case.truth.images + 1,
        case.truth.labels + 1,
        case.truth.xywh,
        area=case.areas,
        iscrowd=case.is_crowd.astype(np.int64),
        segmentation=case.masks and case.masks.truth,
    )
    evaluation = hotcoco.COCOeval(truth, _found_by_hotcoco(truth, case), case.iou_type)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summary_lines()  # summarize() would print them
    return np.asarray(evaluation.stats, np.float64)


def _found_by_hotcoco(truth: Any, case: EvaluationCase) -> Any:
    if case.masks is not None:  # an area of the mask, and none of the box
        records = _found_records(case)
        return truth.load_res([{key: row[key] for key in _RESULT_FIELDS} for row in records])
    rows = np.empty((len(case.scores), 7))  # image, x, y, width, height, score, category
    rows[:, 0] = case.found.images + 1
    rows[:, 1:5] = case.found.xywh
    rows[:, 5] = case.scores
    rows[:, 6] = case.found.labels + 1
    return truth.load_res(rows)


@cache
def _start_rayon(num_threads: int) -> None:
    """Start hotcoco's threads, which rayon otherwise makes one per processor of the machine.

    A worker has few of them, and eight workers of a node would start 8 x 64. rayon reads the number from
    the environment when its pool starts, and only then.
    """
    import hotcoco

    if "RAYON_NUM_THREADS" in os.environ:
        return
    os.environ["RAYON_NUM_THREADS"] = str(num_threads)
    try:
        _run_hotcoco(hotcoco, _smallest_case())
    finally:
        del os.environ["RAYON_NUM_THREADS"]


def _smallest_case() -> EvaluationCase:
    zero, box = np.zeros(1, np.int64), np.array([[0.0, 0.0, 1.0, 1.0]])
    boxes = BoxColumns(images=zero, labels=zero, xywh=box)
    return EvaluationCase(
        num_images=1,
        num_classes=1,
        truth=boxes,
        areas=np.ones(1),
        is_crowd=np.zeros(1, np.bool_),
        found=boxes,
        scores=np.ones(1),
    )


def _faster_coco_eval(case: EvaluationCase) -> Floats:
    from faster_coco_eval import COCO, COCOeval_faster

    images, categories = _images_and_categories(case)
    truth, found = (
        COCO({"images": images, "categories": categories, "annotations": records})
        for records in (_true_records(case), _found_records(case))
    )
    evaluation = COCOeval_faster(truth, found, iouType=case.iou_type, print_function=lambda *_: None)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return np.asarray(evaluation.stats, np.float64)[:12]


def _pycocotools(case: EvaluationCase) -> Floats:
    return np.asarray(pycocotools_evaluation(case).stats, np.float64)


def pycocotools_evaluation(case: EvaluationCase, iou_thresholds: Floats | None = None) -> Any:
    """``COCOeval`` of pycocotools, of a case, evaluated, accumulated and summarised.

    Args:
        case: what to compare.
        iou_thresholds: `[T]`, rising; None for COCO's 0.50, 0.55 ... 0.95. ``stats[0]`` is the mean over all.
    """
    evaluation = _coco_eval(case)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        if iou_thresholds is not None:
            evaluation.params.iouThrs = iou_thresholds
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def pycocotools_matching(case: EvaluationCase) -> Any:
    """``COCOeval`` of pycocotools, of a case, evaluated for objects of all sizes; not accumulated."""
    evaluation = _coco_eval(case)
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [evaluation.params.areaRng[0]], ["all"]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
    return evaluation


def _coco_eval(case: EvaluationCase) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images, categories = _images_and_categories(case)
    with contextlib.redirect_stdout(io.StringIO()):
        indices = []
        for records in (_true_records(case), _found_records(case)):
            index = COCO()
            index.dataset = {"images": images, "categories": categories, "annotations": records}
            index.createIndex()
            indices.append(index)
        return COCOeval(*indices, iouType=case.iou_type)


def _images_and_categories(case: EvaluationCase) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    images = [{"id": i} for i in range(1, case.num_images + 1)]
    if case.masks is not None:
        for image, (width, height) in zip(images, case.masks.sizes.tolist(), strict=True):
            image |= {"width": width, "height": height}
    return images, [{"id": k, "name": str(k)} for k in range(1, case.num_classes + 1)]


def _true_records(case: EvaluationCase) -> list[dict[str, Any]]:
    records = _records(case.truth, areas=case.areas, iscrowd=case.is_crowd.astype(np.int64))
    return records if case.masks is None else _with_masks(records, case.masks.truth)


def _found_records(case: EvaluationCase) -> list[dict[str, Any]]:
    masks = case.masks
    areas = case.found.xywh[:, 2] * case.found.xywh[:, 3] if masks is None else masks.found_areas
    records = _records(case.found, areas=areas, iscrowd=np.zeros(len(areas), np.int64), score=case.scores)
    return records if masks is None else _with_masks(records, masks.found)


def _with_masks(records: list[dict[str, Any]], masks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**record, "segmentation": mask} for record, mask in zip(records, masks, strict=True)]


def _records(boxes: BoxColumns, *, areas: Floats, **columns: npt.NDArray[Any]) -> list[dict[str, Any]]:
    """An annotation for each row, with ids from 1."""
    columns = {
        "id": np.arange(1, len(areas) + 1),
        "image_id": boxes.images + 1,
        "category_id": boxes.labels + 1,
        "bbox": boxes.xywh,
        "area": areas,
        **columns,
    }
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]
