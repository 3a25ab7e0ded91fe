"""A backbone as detectron2's models take one."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from spinesearch.models.adapters.features import PickedFeatures
from spinesearch.models.weights.description import Backbone

# Sides that this divides give every level whole pixels, as in the published models.
SIZE_DIVISIBILITY = 128


class ShapeSpec(NamedTuple):
    """The fields of detectron2.layers.ShapeSpec, for where that is not installed."""

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None


class Detectron2Backbone(PickedFeatures):
    """Features by the names "p3" to "p7", their ``output_shape``, and what their sides must be divided by.

    The contract: detectron2.modeling.Backbone. Where detectron2 is installed this class is registered with
    that abstract class, so that ``isinstance`` holds, and shapes are its ``ShapeSpec``.

    Args:
        backbone: of `build_backbone` or `load_backbone`.
        out_indices: places among levels 3 to 7.
    """

    def __init__(self, backbone: Backbone, out_indices: Sequence[int] | None = None) -> None:
        super().__init__(backbone, out_indices)
        self._shape_spec: Any = ShapeSpec
        try:
            self._shape_spec = importlib.import_module("detectron2.layers").ShapeSpec
            importlib.import_module("detectron2.modeling").Backbone.register(type(self))
        except ImportError:
            pass  # the contract is kept without it

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images [B, 3, H, W] to features by name, from fine to coarse."""
        return dict(zip(self.output_shape(), self.features(images), strict=True))

    def output_shape(self) -> dict[str, Any]:
        """Channels and stride of every feature, by name."""
        return {
            f"p{level}": self._shape_spec(channels=self.out_channels, stride=2**level)
            for level in self.levels
        }

    @property
    def size_divisibility(self) -> int:
        """What the sides of images are padded to a multiple of."""
        return SIZE_DIVISIBILITY

    @property
    def padding_constraints(self) -> dict[str, int]:
        """Padding to a fixed square is not needed."""
        return {}
