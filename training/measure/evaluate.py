"""COCO average precision of detections on some images of a data set.

Shapes: N images, D detections per image (score 0 in padded rows).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spinesearch.data.coco.outlines import mask_areas
from spinesearch.data.coco.read import CocoDataset
from spinesearch.data.ragged import Ragged
from spinesearch.training.measure.case import BoxColumns, CaseMasks, EvaluationCase
from spinesearch.training.measure.evaluators import summary_numbers


class MaskPair(NamedTuple):
    """The masks of a data set and those that were found, as compressed run lengths.

    Attributes:
        true: of all objects of the data set one after the other.
        found: `[N, D]` of bytes.
    """

    true: Ragged[np.uint8]
    found: npt.NDArray[np.object_]


@dataclass(frozen=True, kw_only=True, slots=True)
class CocoMetrics:
    """COCO's summary in [0, 1]; None where the images have no object that a number is about."""

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
    *,
    evaluator: str = "auto",
    num_threads: int = 1,
) -> CocoMetrics:
    """Metrics of the detections on these images of the data set.

    A class without any object in these images does not count, as always with COCO. Without a single
    detection every defined number is 0. A detection whose box is not finite is none.

    Args:
        dataset: where the true objects come from; crowd regions count as COCO has it.
        image_index: `[N]`, positions in ``dataset.images``, rising.
        boxes: `[N, D, 4]`, xyxy in original pixels.
        scores: `[N, D]`; 0 is no detection.
        labels: `[N, D]`, positions in ``dataset.categories``.
        evaluator: the library that counts, a `ProxySettings.evaluator`; all agree to 1e-12.
        num_threads: as for `summary_numbers`.

    Raises:
        ValueError: the library requested cannot be imported here.
    """
    case = evaluation_case(dataset, image_index, boxes, scores, labels)
    stats = summary_numbers(evaluator, case, num_threads=num_threads).tolist()
    return CocoMetrics(**{name: None if stats[i] < 0 else stats[i] for name, i in _STATS.items()})


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """How good a network is, in numbers; None where the images have no object that a number is about.

    Attributes:
        summary: of a detector COCO's twelve numbers by their names, as `SUMMARY_NAMES`; of a classifier top-1
            and top-5.
        class_aps: of a detector AP at IoU 0.50:0.95 by the class's name.
        masks: the same of the masks, of a mask model.
    """

    summary: dict[str, float | None]
    class_aps: dict[str, float | None]
    masks: Scores | None = None

    @property
    def main(self) -> float:
        """What the best network is chosen by, the first of the numbers; 0 where it is not defined."""
        return next(iter(self.summary.values())) or 0.0


SUMMARY_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def detection_scores(
    dataset: CocoDataset,
    image_index: Sequence[int] | npt.NDArray[np.integer[Any]],
    boxes: npt.NDArray[np.floating[Any]],
    scores: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[np.integer[Any]],
    *,
    masks: MaskPair | None = None,
    evaluator: str = "auto",
    num_threads: int = 1,
) -> Scores:
    """All of COCO's numbers for the detections on these images; arguments and errors as `coco_metrics`.

    With masks, theirs too.
    """
    case = evaluation_case(dataset, image_index, boxes, scores, labels)

    def numbers(part: EvaluationCase) -> list[float | None]:
        stats = summary_numbers(evaluator, part, num_threads=num_threads).tolist()
        return [None if value < 0 else value for value in stats]

    def all_of(whole: EvaluationCase, of_masks: Scores | None = None) -> Scores:
        names = [name for _, name in dataset.categories]
        return Scores(
            summary=dict(zip(SUMMARY_NAMES, numbers(whole), strict=True)),
            class_aps={name: numbers(_of_class(whole, label))[0] for label, name in enumerate(names)},
            masks=of_masks,
        )

    if masks is None:
        return all_of(case)
    return all_of(case, all_of(mask_case(case, dataset, image_index, boxes, scores, masks)))


def mask_ap(
    dataset: CocoDataset,
    image_index: Sequence[int] | npt.NDArray[np.integer[Any]],
    boxes: npt.NDArray[np.floating[Any]],
    scores: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[np.integer[Any]],
    masks: MaskPair,
    *,
    evaluator: str = "auto",
    num_threads: int = 1,
) -> float:
    """AP of the masks at IoU 0.50:0.95; arguments and errors as `detection_scores`."""
    case = evaluation_case(dataset, image_index, boxes, scores, labels)
    case = mask_case(case, dataset, image_index, boxes, scores, masks)
    return max(0.0, float(summary_numbers(evaluator, case, num_threads=num_threads)[0]))


def mask_case(
    case: EvaluationCase,
    dataset: CocoDataset,
    image_index: Sequence[int] | npt.NDArray[np.integer[Any]],
    boxes: npt.NDArray[np.floating[Any]],
    scores: npt.NDArray[np.floating[Any]],
    masks: MaskPair,
) -> EvaluationCase:
    """The case of `evaluation_case` with masks to be compared in place of the boxes."""
    sizes = dataset.images.sizes[np.asarray(image_index)]
    offsets = dataset.labels.offsets
    truth = [
        _rle(masks.true[k].tobytes(), size)
        for i, size in zip(image_index, sizes, strict=True)
        for k in range(offsets[i], offsets[i + 1])
    ]
    rows, columns = _found_places(boxes, scores)
    found = [_rle(code, size) for code, size in zip(masks.found[rows, columns], sizes[rows], strict=True)]
    return replace(case, masks=CaseMasks(sizes, truth, found, mask_areas(found)))


def _rle(counts: bytes, size: npt.NDArray[np.int64]) -> dict[str, Any]:
    width, height = size.tolist()
    return {"size": [height, width], "counts": counts}


def _of_class(case: EvaluationCase, label: int) -> EvaluationCase:
    """What is true and what was found of one class, as if there were no other."""
    is_true, is_found = case.truth.labels == label, case.found.labels == label

    def rows(boxes: BoxColumns, wanted: npt.NDArray[np.bool_]) -> BoxColumns:
        zeros = np.zeros(int(wanted.sum()), np.int64)
        return BoxColumns(images=boxes.images[wanted], labels=zeros, xywh=boxes.xywh[wanted])

    return EvaluationCase(
        num_images=case.num_images,
        num_classes=1,
        truth=rows(case.truth, is_true),
        areas=case.areas[is_true],
        is_crowd=case.is_crowd[is_true],
        found=rows(case.found, is_found),
        scores=case.scores[is_found],
        masks=case.masks and case.masks.of(is_true, is_found),
    )


def evaluation_case(
    dataset: CocoDataset,
    image_index: Sequence[int] | npt.NDArray[np.integer[Any]],
    boxes: npt.NDArray[np.floating[Any]],
    scores: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[np.integer[Any]],
) -> EvaluationCase:
    """What is true and what was found on these images; the arguments are those of `coco_metrics`."""
    rows, columns = _found_places(boxes, scores)
    found = BoxColumns(
        images=rows, labels=labels[rows, columns].astype(np.int64), xywh=_xywh(boxes[rows, columns])
    )
    truth, areas, is_crowd = _true_objects(dataset, image_index)
    return EvaluationCase(
        num_images=len(image_index),
        num_classes=len(dataset.categories),
        truth=truth,
        areas=areas,
        is_crowd=is_crowd,
        found=found,
        scores=scores[rows, columns].astype(np.float64),
    )


def _found_places(
    boxes: npt.NDArray[np.floating[Any]], scores: npt.NDArray[np.floating[Any]]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Image and column of every detection."""
    rows, columns = np.nonzero((scores > 0) & np.isfinite(boxes).all(axis=-1))
    return rows, columns


def _true_objects(
    dataset: CocoDataset, image_index: Sequence[int] | npt.NDArray[np.integer[Any]]
) -> tuple[BoxColumns, npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Boxes of all objects of these images, their areas and whether they are crowds."""
    labels = [dataset.labels[i] for i in image_index]
    truth = BoxColumns(
        images=np.repeat(np.arange(len(labels)), [len(rows) for rows in labels]),
        labels=np.concatenate(labels),
        xywh=_xywh(np.concatenate([dataset.boxes_xyxy[i] for i in image_index])),
    )
    areas = np.concatenate([dataset.area[i] for i in image_index]).astype(np.float64)
    return truth, areas, np.concatenate([dataset.is_crowd[i] for i in image_index])


def _xywh(boxes: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Corners `[..., 4]` as x, y, width, height, subtracted in float64 as they would be read from JSON."""
    corners = boxes.astype(np.float64)
    return np.concatenate((corners[..., :2], corners[..., 2:] - corners[..., :2]), axis=-1)
