"""Which outputs a search hardly trains: for the ledger, and in a line of warning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spinesearch.data.open import ProxyData
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.training.targets.coverage import (
    AnchorSetting,
    Coverage,
    measure_coverage,
    unseen_outputs,
)

# An output that has less than this share of the positives that it has at the target is hardly trained.
LEAST_SHARE = 0.05
# The published RetinaNet of SpineNet-49: what a network that was found is trained as.
TARGET = AnchorSetting(image_size=640, num_scales=3, base_anchor=3.0)
_MAX_IMAGES = 128  # looked at when a search begins: some two seconds; `spinesearch proxy coverage` takes more


def anchor_setting(settings: ProxySettings) -> AnchorSetting:
    """The anchors of a proxy setting."""
    return AnchorSetting(
        image_size=settings.image_size, num_scales=settings.num_scales, base_anchor=settings.base_anchor
    )


def training_objects(data: ProxyData, *, max_images: int) -> Iterator[tuple[Tensor, tuple[int, int]]]:
    """Boxes without crowds, and sizes, of an even choice of at most so many of the training images."""
    num_all = len(data.train_index)
    places = np.linspace(0, num_all - 1, min(num_all, max_images)).round().astype(np.int64)
    for index in data.train_index[places]:
        image = data.dataset.images[int(index)]
        boxes = data.dataset.boxes_xyxy[int(index)][~data.dataset.is_crowd[int(index)]]
        yield torch.from_numpy(np.array(boxes)), (image.width, image.height)


def coverage_record(settings: ProxySettings, data: ProxyData) -> dict[str, Any]:
    """What the ledger's ``run`` event says as ``coverage``.

    Per output, P3 first, its share of the positive anchors under the proxy setting and at `TARGET`, both by
    at most 128 of the training images, unaugmented, of which it says how many they were; and the levels that
    are hardly trained. Where the proxy's images are larger than `TARGET`'s, both have the same size.
    """
    target = AnchorSetting(
        image_size=max(TARGET.image_size, settings.image_size),
        num_scales=TARGET.num_scales,
        base_anchor=TARGET.base_anchor,
    )
    objects = list(training_objects(data, max_images=_MAX_IMAGES))
    here, there = (measure_coverage(objects, setting) for setting in (anchor_setting(settings), target))
    return {
        "num_images": here.num_images,
        "target_image_size": target.image_size,
        "positives": _shares(here),
        "target_positives": _shares(there),
        "unseen": list(unseen_outputs(here, there, least=LEAST_SHARE)),
    }


def coverage_warning(record: Mapping[str, Any]) -> str:
    """One line that names the outputs which are hardly trained; empty if there are none."""
    levels = record["unseen"]
    if not levels:
        return ""
    names = ", ".join(f"P{level}" for level in levels)
    return (
        f"{names} {'has' if len(levels) == 1 else 'have'} less than {LEAST_SHARE:.0%} of the positive "
        f"anchors that a training at {record['target_image_size']} px has there, so the search hardly sees "
        "what an architecture does there; `spinesearch proxy coverage` with these settings says more"
    )


def _shares(coverage: Coverage) -> list[float]:
    return [round(level.positives, 4) for level in coverage.levels]
