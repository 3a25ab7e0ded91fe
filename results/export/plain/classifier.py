"""A classifier on a backbone: the five features averaged at the finest one's size, and one linear layer.

Shapes: B images, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from spinesearch.results.export.plain.layers import resize_nearest


class ClassificationHead(nn.Module):
    """Logits from the features of levels 3 to 7."""

    def __init__(self, in_channels: int, *, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, num_classes)

    def forward(self, features: Mapping[int, Tensor]) -> Tensor:
        """Features [B, C, H, W] by level to logits [B, K]; each level is added to the next finer one."""
        total = features[7]
        for level in (6, 5, 4, 3):
            height, width = features[level].shape[-2:]
            total = resize_nearest(total, (height, width)) + features[level]
        logits: Tensor = self.linear((total / 5).mean((2, 3)))
        return logits


class Classifier(nn.Module):
    """A backbone and a head as one classifier."""

    def __init__(self, backbone: nn.Module, head: ClassificationHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] to logits [B, K]."""
        logits: Tensor = self.head(self.backbone(images))
        return logits


def build_classifier(backbone: nn.Module, config: Mapping[str, Any]) -> Classifier:
    """The classifier on a backbone; the configuration is `ClassificationHead`'s arguments."""
    return Classifier(backbone, ClassificationHead(**config))
