"""The anchors of a training's settings."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from spinesearch.models.heads.anchors import make_anchors
from spinesearch.training.recipe import CLASSIFICATION


class AnchorSettings(Protocol):
    """Settings of a training, as far as they decide its anchors."""

    @property
    def task(self) -> str: ...  # noqa: D102
    @property
    def image_size(self) -> int: ...  # noqa: D102
    @property
    def num_scales(self) -> int: ...  # noqa: D102
    @property
    def base_anchor(self) -> float: ...  # noqa: D102


def task_anchors(settings: AnchorSettings) -> Tensor:
    """Anchors `[A, 4]`, as `make_anchors`; of a classifier none."""
    if settings.task == CLASSIFICATION:
        return torch.empty(0, 4)
    return make_anchors(settings.image_size, num_scales=settings.num_scales, base_anchor=settings.base_anchor)
