"""A classifier on a backbone: the paper's head over its five features (section 5.3), one score per class.

Shapes: B images, C channels of every feature, K classes. Details are the released code's `ClassificationHead`
(heads.py) with its aggregation "all", as the classification configurations of SpineNet have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from spinesearch.models.backbone import ScalePermutedBackbone, build_backbone
from spinesearch.models.heads.inference import Inference
from spinesearch.models.layers import refuse_torchscript, resize_nearest
from spinesearch.models.resnet_fpn import ResNetFPN
from spinesearch.space import OUTPUT_LEVELS, ArchSpec, ResNetSpec

LINEAR_STD = 0.01  # of the initial weights, as in the released code


class ClassificationHead(nn.Module):
    """Features of all levels, averaged at the finest one's size, pooled, and one linear layer.

    Args:
        in_channels: C.
        num_classes: K.

    Raises:
        ValueError: the number of classes is no whole number of at least 1.
    """

    def __init__(self, in_channels: int, *, num_classes: int) -> None:
        super().__init__()
        if type(num_classes) is not int or num_classes < 1:
            raise ValueError(f"num_classes must be a whole number of at least 1, got {num_classes!r}")
        self.arguments: dict[str, Any] = {"num_classes": num_classes}  # weight files record them
        self.num_classes = num_classes
        self.linear = nn.Linear(in_channels, num_classes)
        nn.init.normal_(self.linear.weight, std=LINEAR_STD)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Mapping[int, Tensor]) -> Tensor:
        """Logits `[B, K]` of features `[B, C, H, W]` by level.

        Each level is brought to the next finer one's size by the nearest pixel and added to it, from the
        coarsest to the finest; the sum is divided by their number.
        """
        *finer, coarsest = OUTPUT_LEVELS
        total = features[coarsest]
        for level in reversed(finer):
            height, width = features[level].shape[-2:]
            total = resize_nearest(total, (height, width)) + features[level]
        logits: Tensor = self.linear((total / len(OUTPUT_LEVELS)).mean((2, 3)))
        return logits


class Classifier(nn.Module):
    """A backbone and a head as one network that tells what an image shows.

    Args:
        backbone: gives the features of levels 3 to 7.
        head: classifies by them.

    Attributes:
        inference: how images are made for it and what its classes are called, of a classifier that was
            trained; else None. It has no anchors: what `Inference` says of them is without meaning here.
    """

    inference: Inference | None

    def __init__(self, backbone: ScalePermutedBackbone | ResNetFPN, head: ClassificationHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.inference = None

    __prepare_scriptable__ = refuse_torchscript

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[B, K]` of normalised images `[B, 3, H, W]`, with sides of at least 32 pixels."""
        logits: Tensor = self.head(self.backbone(images))
        return logits


def build_classifier(
    spec: ArchSpec | ResNetSpec | str | Path, *, num_classes: int, **backbone_kwargs: Any
) -> Classifier:
    """Classifier of a spec, of a published model, or of a spec in a JSON file.

    Args:
        spec: the backbone's architecture, as for `build_backbone`.
        num_classes: K.
        **backbone_kwargs: the other arguments of `build_backbone`.

    Raises:
        ValueError: an argument is out of range, or nothing is published under this name.
    """
    backbone = build_backbone(spec, **backbone_kwargs)
    return Classifier(backbone, ClassificationHead(backbone.out_channels, num_classes=num_classes))
