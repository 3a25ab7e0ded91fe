"""Trained weights on a data set of any classes: COCO's numbers, and detections in COCO's results format.

Shapes: N images, D detections per image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spinesearch.data.coco.dataset import CocoDataset
from spinesearch.data.open import ProxyData
from spinesearch.models.heads.anchors import make_anchors
from spinesearch.models.heads.classifier import Classifier
from spinesearch.models.heads.inference import Inference
from spinesearch.models.weights.description import Detector
from spinesearch.training.measure.classify import (
    Classified,
    class_scores,
    classify_images,
    true_classes,
)
from spinesearch.training.measure.evaluate import Scores, detection_scores
from spinesearch.training.measure.found import Found, find_objects, mask_pair

_BATCH_SIZE = 8
NUM_COCO_IDS = 91  # classes of the released code: COCO's largest id, plus 0 for the background


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassMatch:
    """Which class of a data set each class of a model is.

    Attributes:
        labels: by the model's label, that of the data set; -1 where it has none.
        missing: classes of the data set that the model does not know.
        extra: classes of the model that the data set does not have.
    """

    labels: tuple[int, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """What does not match, a line each."""
        lines = []
        if self.missing:
            lines.append(
                f"the weights do not know {len(self.missing)} classes of the data set, which count as found "
                f"nowhere: {', '.join(self.missing)}"
            )
        if self.extra:
            lines.append(
                f"the data set does not have {len(self.extra)} classes of the weights, whose detections are "
                f"left out: {', '.join(self.extra)}"
            )
        return lines


def match_classes(
    categories: Sequence[tuple[int, str]], class_names: Sequence[str], num_classes: int
) -> ClassMatch:
    """The classes of a model and of a data set matched by name.

    Weights without names of 91 classes are the released code's, whose labels are COCO's category ids.

    Args:
        categories: (COCO id, name) of the data set, by label.
        class_names: the model's, by label; empty if not known.
        num_classes: the model's.

    Raises:
        ValueError: no class matches, or the weights' classes have neither names nor COCO's number.
    """
    if class_names:
        theirs: Mapping[Any, int] = {name: label for label, (_, name) in enumerate(categories)}
        ours: Sequence[Any] = class_names
    elif num_classes == NUM_COCO_IDS:
        theirs = {coco_id: label for label, (coco_id, _) in enumerate(categories)}
        ours = range(NUM_COCO_IDS)
    else:
        raise ValueError(
            f"WEIGHTS: their {num_classes} classes have no names, so that none can be matched with the data "
            "set's; weights of `spinesearch train` have names"
        )
    labels = tuple(theirs.get(name, -1) for name in ours)
    names = [name for _, name in categories]
    missing = tuple(name for label, name in enumerate(names) if label not in labels)
    extra = tuple(name for name, label in zip(class_names, labels, strict=False) if label < 0)
    if len(missing) == len(names):
        raise ValueError(
            f"WEIGHTS: no class of the data set ({', '.join(names[:3])} ...) is among the weights' "
            f"({', '.join(class_names[:3])} ...); names must be equal"
        )
    return ClassMatch(labels=labels, missing=missing, extra=extra)


def evaluate_detector(
    detector: Detector,
    data: ProxyData,
    inference: Inference,
    match: ClassMatch,
    *,
    on_batch: Callable[[int], None] = lambda num_done: None,
) -> tuple[Found, Scores]:
    """What a detector finds in all images of a data set, in the data set's classes, and how good that is.

    Args:
        detector: on any device.
        data: packed at ``inference.image_size``.
        inference: of the detector.
        match: of their classes.
        on_batch: called after each batch with the number of images done.
    """
    anchors = make_anchors(
        inference.image_size, num_scales=inference.num_scales, base_anchor=inference.base_anchor
    ).to(next(detector.parameters()).device)
    index = data.held_out_index
    found = find_objects(
        detector, data, index, anchors, batch_size=_BATCH_SIZE, precision="float32", on_batch=on_batch
    )
    labels = np.asarray(match.labels, np.int64)[found.labels]
    scores = np.where(labels >= 0, found.scores, 0.0).astype(np.float32)
    found = found._replace(scores=scores, labels=labels.clip(min=0))
    scored = detection_scores(
        data.dataset,
        index,
        *found[:3],
        masks=mask_pair(data, found),
        evaluator="auto",
        num_threads=1,
    )
    return found, scored


def evaluate_classifier(
    classifier: Classifier,
    data: ProxyData,
    match: ClassMatch,
    *,
    on_batch: Callable[[int], None] = lambda num_done: None,
) -> tuple[Classified, Scores]:
    """What a classifier takes all images of a data set for, in the data set's classes, and how good that is.

    Args:
        classifier: on any device.
        data: packed at the size of its images.
        match: of their classes; one that the data set does not have becomes -1, which is never right.
        on_batch: called after each batch with the number of images done.
    """
    index = data.held_out_index
    found = classify_images(
        classifier, data, index, batch_size=_BATCH_SIZE, precision="float32", on_batch=on_batch
    )
    found = found._replace(labels=np.asarray(match.labels, np.int64)[found.labels])
    return found, class_scores(found, true_classes(data, index))


def class_results(data: ProxyData, found: Classified) -> list[dict[str, Any]]:
    """What every image was taken for: file_name, its class, and the likely classes with their scores."""
    names = (*data.class_names, None)  # the last one for a class that the data set does not have
    truth = true_classes(data, data.held_out_index).tolist()
    return [
        {
            "image_id": image.id,
            "file_name": image.file_name,
            "class": names[label],
            "found": [{"name": names[one], "score": score} for one, score in zip(*row, strict=True)],
        }
        for image, label, *row in zip(
            data.dataset.images, truth, found.labels.tolist(), found.scores.tolist(), strict=True
        )
    ]


def coco_results(dataset: CocoDataset, found: Found) -> list[dict[str, Any]]:
    """Detections in COCO's results format: image_id, category_id, bbox (x, y, width, height), score.

    Those of a mask model have their RLE as segmentation too.

    Args:
        dataset: its ids are used; all its images were looked at, in its order.
        found: in its classes.
    """
    rows, columns = np.nonzero(found.scores > 0)
    corners = found.boxes[rows, columns].astype(np.float64)
    xywh = np.concatenate((corners[:, :2], corners[:, 2:] - corners[:, :2]), axis=1).tolist()
    ids = dataset.images.ids[rows].tolist()
    labels = found.labels[rows, columns].tolist()
    scores = found.scores[rows, columns].astype(np.float64).tolist()
    results: list[dict[str, Any]] = [
        {"image_id": i, "category_id": dataset.categories[label][0], "bbox": box, "score": score}
        for i, label, box, score in zip(ids, labels, xywh, scores, strict=True)
    ]
    if found.masks is not None:
        for result, code, row in zip(results, found.masks[rows, columns], rows, strict=True):
            width, height = dataset.images.sizes[row].tolist()
            result["segmentation"] = {"size": [height, width], "counts": code.decode("ascii")}
    return results
