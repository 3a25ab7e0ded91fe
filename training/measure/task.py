"""What a network of either task makes of images, and how good that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from spinesearch.data.open import ProxyData
from spinesearch.training.measure.classify import Classified, class_scores, classify_images, true_classes
from spinesearch.training.measure.evaluate import Scores, detection_scores
from spinesearch.training.measure.found import Found, find_objects, mask_pair
from spinesearch.training.recipe import CLASSIFICATION

Seen = Found | Classified


def see_images(
    model: nn.Module,
    data: ProxyData,
    index: npt.NDArray[np.int64],
    anchors: Tensor,
    *,
    task: str,
    batch_size: int,
    precision: str,
    on_batch: Callable[[int], None] = lambda num_done: None,
) -> Seen:
    """What a network finds in these images, or takes them for; else as `find_objects`."""
    if task == CLASSIFICATION:
        return classify_images(
            model, data, index, batch_size=batch_size, precision=precision, on_batch=on_batch
        )
    return find_objects(
        model, data, index, anchors, batch_size=batch_size, precision=precision, on_batch=on_batch
    )


def seen_scores(
    data: ProxyData, index: npt.NDArray[np.int64], seen: Seen, *, evaluator: str, num_threads: int
) -> Scores:
    """How good that is: COCO's numbers, or top-1 and top-5; arguments as of `detection_scores`."""
    if isinstance(seen, Classified):
        return class_scores(seen, true_classes(data, index))
    return detection_scores(
        data.dataset,
        index,
        *seen[:3],
        masks=mask_pair(data, seen),
        evaluator=evaluator,
        num_threads=num_threads,
    )


def joined(parts: Sequence[Seen], order: npt.NDArray[np.int64]) -> Seen:
    """What was made of the images of all parts, in this order of them."""
    columns: list[Any] = [
        None if arrays[0] is None else np.concatenate(arrays)[order] for arrays in zip(*parts, strict=True)
    ]
    return type(parts[0])(*columns)
