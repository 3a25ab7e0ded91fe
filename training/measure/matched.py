"""Which detections are right, kept so that AP can be counted on any draw of the images: `matched_bytes`.

A detection is matched with an object within its image and class. So that is done once, and AP over images
drawn with replacement is counted from what was matched (`spinesearch.results.studies.image_draws`), without
boxes, images or annotations.

The file is an ``.npz`` of, for I images, K classes and D detections:

``images``   text: digest of the images' objects, but for their classes. Equal for any two trainings that are
             scored on the same images, whatever their size.
``num_true`` `[K, I]`: objects that can be found; crowds are none.
``image``, ``label`` `[D]`, ``score`` `[D]` float32: class by class, by falling score, in the order in which
             COCO's evaluation goes through them.
``matched``, ``ignored`` `[D]`: bit t is set if at the t-th of COCO's ten IoU thresholds the detection has an
             object, or counts neither as right nor as wrong, since what it has is a crowd.
"""

from __future__ import annotations

import hashlib
import io

import numpy as np
import numpy.typing as npt

from spinesearch.training.measure.case import EvaluationCase
from spinesearch.training.measure.evaluators import pycocotools_matching


def matched_bytes(case: EvaluationCase) -> bytes:
    """The content of the file."""
    matching = pycocotools_matching(case)
    num_true = np.zeros((case.num_classes, case.num_images), np.uint16)
    image, label, score, matched, ignored = [], [], [], [], []
    for entry in matching.evalImgs:  # class by class, image by image
        if entry is None:  # neither objects nor detections
            continue
        k, i = entry["category_id"] - 1, entry["image_id"] - 1
        num_true[k, i] = int((np.asarray(entry["gtIgnore"]) == 0).sum())
        scores = np.asarray(entry["dtScores"], np.float64)
        image.append(np.full(len(scores), i))
        label.append(np.full(len(scores), k))
        score.append(scores)
        matched.append(_bits(np.asarray(entry["dtMatches"]) > 0))
        ignored.append(_bits(np.asarray(entry["dtIgnore"]) > 0))
    columns = [np.concatenate(parts) if parts else np.zeros(0) for parts in (image, label, score)]
    bits = [np.concatenate(parts) if parts else np.zeros(0) for parts in (matched, ignored)]
    order = np.lexsort((-columns[2], columns[1]))  # stable: of equal scores the earlier image comes first
    file = io.BytesIO()
    np.savez_compressed(
        file,
        images=np.array(_digest(case)),
        num_true=num_true,
        image=columns[0][order].astype(np.uint32),
        label=columns[1][order].astype(np.uint16),
        score=columns[2][order].astype(np.float32),
        matched=bits[0][order].astype(np.uint16),
        ignored=bits[1][order].astype(np.uint16),
    )
    return file.getvalue()


def _bits(flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """`[D]` of flags `[T, D]`."""
    return np.asarray((flags.astype(np.int64) << np.arange(len(flags))[:, None]).sum(axis=0))


def _digest(case: EvaluationCase) -> str:
    digest = hashlib.sha256(str(case.num_images).encode())
    for array in (case.truth.images, case.truth.xywh, case.areas, case.is_crowd):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
