"""RetinaNet on a backbone, and from its outputs to detections.

Shapes: B images, N anchors of all levels (by level, row, column, anchor), K classes, D detections.
Boxes are xyxy in pixels of the network's input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spinesearch.results.export.plain.boxes import (
    LEVELS,
    MAX_DETECTIONS,
    NMS_IOU,
    SCORE_THRESHOLD,
    OfAnchors,
    best_detections,
    by_anchor,
    decode,
)
from spinesearch.results.export.plain.layers import Style


class Subnet(nn.Module):
    """3x3 convolutions shared by all levels, batch normalisation of each level's own, and a prediction."""

    def __init__(
        self,
        in_channels: int,
        filters: int,
        out_channels: int,
        *,
        num_convs: int,
        separable: bool,
        style: Style,
    ) -> None:
        super().__init__()
        conv = SeparableConv2d if separable else Conv3x3
        self.convs = nn.ModuleList(conv(filters if i else in_channels, filters) for i in range(num_convs))
        self.norms = nn.ModuleDict(
            {
                str(level): nn.ModuleList(style.build_norm(filters) for _ in range(num_convs))
                for level in LEVELS
            }
        )
        self.activation = style.build_activation()
        self.predict = conv(filters if num_convs else in_channels, out_channels)

    def forward(self, x: Tensor, level: int) -> Tensor:
        """[B, in_channels, H, W] to [B, out_channels, H, W]."""
        norms = self.norms[str(level)]
        assert isinstance(norms, nn.ModuleList)
        for conv, norm in zip(self.convs, norms, strict=True):
            x = self.activation(norm(conv(x)))
        out: Tensor = self.predict(x)
        return out


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution with bias."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)


class SeparableConv2d(nn.Module):
    """A depthwise 3x3 convolution without bias, then a 1x1 convolution with bias."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] to [B, out_channels, H, W]."""
        out: Tensor = self.pointwise(self.depthwise(x))
        return out


class RetinaNetHead(nn.Module):
    """Class and box predictions for every level."""

    def __init__(
        self,
        in_channels: int,
        *,
        num_classes: int,
        num_anchors: int,
        num_convs: int,
        num_filters: int,
        separable: bool,
        style: Style,
    ) -> None:
        super().__init__()
        self.num_classes, self.num_anchors = num_classes, num_anchors
        self.cls_net, self.box_net = (
            Subnet(
                in_channels,
                num_filters,
                num_anchors * size,
                num_convs=num_convs,
                separable=separable,
                style=style,
            )
            for size in (num_classes, 4)
        )

    def forward(self, features: Mapping[int, Tensor]) -> tuple[Tensor, Tensor]:
        """Features by level to class logits [B, N, K] and box deltas [B, N, 4]."""
        logits = [by_anchor(self.cls_net(features[n], n), self.num_classes) for n in LEVELS]
        deltas = [by_anchor(self.box_net(features[n], n), 4) for n in LEVELS]
        return torch.cat(logits, dim=1), torch.cat(deltas, dim=1)


class Detector(OfAnchors):
    """A backbone and a head as one detector."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, 3, H, W] to class logits [B, N, K], before the sigmoid, and box deltas [B, N, 4]."""
        out: tuple[Tensor, Tensor] = self.head(self.backbone(images))
        return out

    def find(
        self, images: Tensor, anchors: Tensor, corner: Tensor, suppressed: Callable[..., Tensor]
    ) -> Tensor:
        """Detections [B, D, 6] of images [B, 3, H, W] by falling score: x1, y1, x2, y2, score, class.

        Boxes are clipped to the images; rows past an image's last detection are 0.
        """
        logits, deltas = self(images)
        boxes, scores = decode(logits.float(), deltas.float(), anchors, corner)
        return best_detections(boxes, suppressed(boxes, scores, SCORE_THRESHOLD, NMS_IOU, MAX_DETECTIONS))


def build_detector(
    backbone: nn.Module, config: Mapping[str, Any], style: Style, *, base_anchor: float
) -> Detector:
    """The detector on a backbone; the configuration is `RetinaNetHead`'s arguments."""
    return Detector(backbone, RetinaNetHead(**config, style=style), base_anchor=base_anchor)
