"""A detector up to its detections, for images of one size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from spinesearch.results.export.plain.boxes import OfAnchors, image_corner


class FixedSize(nn.Module):
    """What a detector finds in images of one size, whose anchors are then constants.

    Args:
        detector: in plain form.
        images: of the size.
        suppressed: in place of `suppress`.
    """

    anchors: Tensor
    corner: Tensor

    def __init__(self, detector: OfAnchors, images: Tensor, suppressed: Callable[..., Tensor]) -> None:
        super().__init__()
        self.detector = detector
        self.suppressed = suppressed
        self.register_buffer("anchors", detector.anchors(images))
        self.register_buffer("corner", image_corner(images))

    def forward(self, images: Tensor) -> Any:
        """Images [B, 3, H, W] to detections [B, 100, 6], and of a Mask R-CNN masks [B, 100, 28, 28]."""
        return self.detector.find(images, self.anchors, self.corner, self.suppressed)
