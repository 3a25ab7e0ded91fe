"""COCO AP on images drawn with replacement, from matched detections: `Matched`, `image_draws`.

The detections are those of the file that `spinesearch.training.measure.matched` describes.

The accumulation is COCO's, with a weight per image: how often the image was drawn. At weights of 1 it gives
what the evaluators give. Precision is looked up at detections that are right only: between two of them recall
stands still and precision falls, so the highest precision from some recall on is at one that is right.

Shapes: I images, K classes, D detections, T IoU thresholds, R draws.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from spinesearch.results.studies.resamples import Floats

NUM_DRAWS = 1000
_NUM_IOUS = 10  # COCO's: 0.50, 0.55 ... 0.95
_RECALLS = np.linspace(0.0, 1.0, 101)  # COCO's
_EPSILON = np.spacing(1.0)  # in COCO's precision
_IOUS = {"ap": slice(None), "ap50": slice(0, 1), "ap75": slice(5, 6), "ar100": slice(None)}
METRICS = tuple(_IOUS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Matched:
    """The detections of a training on the images that it was scored on.

    Attributes:
        images: digest of these images.
        num_true: `[K, I]`, objects to be found.
        image: `[D]`.
        label: `[D]`, rising; within a class the detections stand by falling score.
        matched: `[D, T]`, whether the detection has an object.
        ignored: `[D, T]`, whether it is neither right nor wrong.
    """

    images: str
    num_true: Floats
    image: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    matched: npt.NDArray[np.bool_]
    ignored: npt.NDArray[np.bool_]

    @classmethod
    def from_bytes(cls, data: bytes) -> Matched:
        """What a file holds.

        Raises:
            ValueError, KeyError, OSError: it is no such file.
        """
        with np.load(io.BytesIO(data)) as file:
            bits = {
                name: (file[name].astype(np.int64)[:, None] >> np.arange(_NUM_IOUS)) & 1 > 0
                for name in ("matched", "ignored")
            }
            return cls(
                images=str(file["images"]),
                num_true=file["num_true"].astype(np.float64),
                image=file["image"].astype(np.int64),
                label=file["label"].astype(np.int64),
                **bits,
            )

    def metric(self, name: str, weights: Floats) -> Floats:
        """``ap``, ``ap50``, ``ap75`` or ``ar100`` of each draw, `[R]`; NaN where it has no object.

        Args:
            name: of the metric.
            weights: `[R, I]`, how often each draw holds each image.
        """
        num_true = weights @ self.num_true.T  # [R, K]
        total, count = np.zeros(len(weights)), np.zeros(len(weights))
        for k in np.flatnonzero(self.num_true.any(axis=1)):
            rows = np.flatnonzero(self.label == k)
            has_objects = num_true[:, k] > 0
            value = self._of_class(name, rows, weights[has_objects], num_true[has_objects, k])
            total[has_objects] += value
            count += has_objects
        with np.errstate(invalid="ignore"):
            return np.asarray(total / count)

    def _of_class(self, name: str, rows: npt.NDArray[np.int64], weights: Floats, num_true: Floats) -> Floats:
        """The mean over the IoU thresholds, `[R]`."""
        drawn = weights[:, self.image[rows]]  # [R, D]
        has_crowds = bool(self.ignored[rows].any())
        before = None if has_crowds else drawn.cumsum(axis=1)
        values = []
        for t in range(_NUM_IOUS)[_IOUS[name]]:
            counts = ~self.ignored[rows, t]
            right = np.flatnonzero(self.matched[rows, t] & counts)
            num_right = drawn[:, right].cumsum(axis=1)
            recall = num_right / num_true[:, None]
            if name == "ar100":
                values.append(recall[:, -1] if len(right) else np.zeros(len(drawn)))
                continue
            num_counted = (drawn * counts).cumsum(axis=1) if before is None else before
            precision = num_right / (num_counted[:, right] + _EPSILON)
            values.append(_area(recall, precision))
        return np.asarray(np.mean(values, axis=0))


def _area(recall: Floats, precision: Floats) -> Floats:
    """Mean over COCO's recalls of the highest precision from each recall on, `[R]`; both `[R, N]`."""
    highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    nearest = np.rint(100 * recall).astype(np.int32)  # which of COCO's: the others are far from it
    num_reached = nearest + (_RECALLS[nearest] <= recall)
    num_new = np.diff(num_reached, axis=1, prepend=0)
    return np.asarray((highest * num_new).sum(axis=1) / len(_RECALLS))


@lru_cache(maxsize=4)
def image_draws(num_images: int, images: str) -> Floats:
    """How often each of `NUM_DRAWS` draws holds each image, `[R, I]`: the same for the same images."""
    rng = np.random.default_rng([int(images, 16), num_images])
    shares = np.full(num_images, 1 / num_images)
    return rng.multinomial(num_images, shares, size=NUM_DRAWS).astype(np.float64)
