"""A ResNet of bottlenecks with a feature pyramid on levels 3 to 7."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from spinesearch.results.export.plain.layers import (
    ConvNorm,
    Style,
    build_repeats,
    max_pool_same,
    pad_same,
    resize_nearest,
)


class ResNetFPN(nn.Module):
    """The features of an image at levels 3 to 7.

    Args:
        stem: channels of the first convolution.
        filters: of the bottlenecks' 3x3 convolutions at levels 2 to 5.
        num_blocks: bottlenecks at these levels.
        endpoints: channels of every output feature.
        drop_rate: probability of dropping a branch of level 5 in training; level l has l / 5 of it.
        style: activation, normalisation and padding.
    """

    def __init__(
        self,
        *,
        stem: int,
        filters: Sequence[int],
        num_blocks: Sequence[int],
        endpoints: int,
        drop_rate: float,
        style: Style,
    ) -> None:
        super().__init__()
        self.stem_conv = ConvNorm(3, stem, 7, stride=2, style=style)
        self.groups = nn.ModuleDict()
        self.laterals = nn.ModuleDict()
        before = stem
        for level, (width, count) in enumerate(zip(filters, num_blocks, strict=True), start=2):
            self.groups[str(level)] = build_repeats(
                "bottleneck",
                (before, width, 4 * width),
                repeats=count,
                style=style,
                stride=1 if level == 2 else 2,
                drop_rate=drop_rate * level / 5,
            )
            before = 4 * width
            if level > 2:
                self.laterals[str(level)] = nn.Conv2d(before, endpoints, 1)
        self.smooths = nn.ModuleDict(
            {
                str(n): nn.Conv2d(endpoints, endpoints, 3, padding=1)
                if n <= 5
                else nn.Conv2d(endpoints, endpoints, 3, stride=2)
                for n in (3, 4, 5, 6, 7)
            }
        )
        self.activation = style.build_activation() if style.compat == "v2" else nn.ReLU()
        self.endpoints = nn.ModuleDict({str(n): style.build_norm(endpoints) for n in (3, 4, 5, 6, 7)})

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """Images [B, 3, H, W] to features [B, C, ceil(H / 2**level), ceil(W / 2**level)] by level."""
        x = max_pool_same(self.stem_conv(images), (3, 3), (2, 2))
        laterals: dict[int, Tensor] = {}
        for level in (2, 3, 4, 5):
            x = self.groups[str(level)](x)
            if level > 2:
                laterals[level] = self.laterals[str(level)](x)
        for level in (4, 3):
            size = (laterals[level].shape[-2], laterals[level].shape[-1])
            laterals[level] = laterals[level] + resize_nearest(laterals[level + 1], size)
        smooth = {level: self.smooths[str(level)](x) for level, x in laterals.items()}
        for level in (6, 7):
            x = smooth[level - 1] if level == 6 else self.activation(smooth[level - 1])
            smooth[level] = self.smooths[str(level)](pad_same(x, (3, 3), (2, 2), 0.0))
        return {level: self.endpoints[str(level)](smooth[level]) for level in sorted(smooth)}


def build_backbone(config: Mapping[str, Any], style: Style) -> nn.Module:
    """The backbone of a configuration: `ResNetFPN`'s arguments."""
    return ResNetFPN(**config, style=style)
