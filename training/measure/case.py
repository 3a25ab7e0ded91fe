"""What is true and what was found in some images, in columns: what COCO's evaluation compares.

Shapes: I images, T true objects, F found ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxColumns:
    """Boxes of many images, a row each.

    Attributes:
        images: `[T]`, 0-based; of equal scores the detection in the earlier image counts first.
        labels: `[T]`, 0-based.
        xywh: `[T, 4]`, x, y, width and height.
    """

    images: Ints
    labels: Ints
    xywh: Floats


class CaseMasks(NamedTuple):
    """The masks of what is true and of what was found, as RLE: ``size`` (height, width) and ``counts``.

    Attributes:
        sizes: `[I, 2]`, width and height of the images.
        truth: T masks.
        found: F masks.
        found_areas: `[F]`, pixels of these.
    """

    sizes: Ints
    truth: list[dict[str, Any]]
    found: list[dict[str, Any]]
    found_areas: Floats

    def of(self, is_true: npt.NDArray[np.bool_], is_found: npt.NDArray[np.bool_]) -> CaseMasks:
        """Those where these `[T]` and `[F]` say so."""
        return CaseMasks(
            self.sizes,
            [self.truth[i] for i in np.flatnonzero(is_true)],
            [self.found[i] for i in np.flatnonzero(is_found)],
            self.found_areas[is_found],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationCase:
    """What is true and what was found in some images.

    Attributes:
        num_images: images, with objects or without.
        num_classes: classes; one without a true object does not count.
        truth: the true objects.
        areas: `[T]`, in square pixels, of the true objects; decide who is small, medium and large.
        is_crowd: `[T]`, true objects that stand for several.
        found: the detections.
        scores: `[F]`, of the detections.
        masks: what is compared in place of the boxes; None for the boxes.
    """

    num_images: int
    num_classes: int
    truth: BoxColumns
    areas: Floats
    is_crowd: npt.NDArray[np.bool_]
    found: BoxColumns
    scores: Floats
    masks: CaseMasks | None = None

    @property
    def iou_type(self) -> str:
        """What overlaps are of, as the libraries call it."""
        return "bbox" if self.masks is None else "segm"
