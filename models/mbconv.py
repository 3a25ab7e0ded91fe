"""The parts of mobile SpineNet: the MBConv block, its squeeze-and-excitation, and the resampling between.

MBConv is the inverted bottleneck of MobileNetV2 (arXiv 1801.04381) with the squeeze-and-excitation of
arXiv 1709.01507, as in EfficientNet. Numbers and order are those of the released code
(spinenet_mbconv.py and nn_blocks.py). Shapes: B images, H x W pixels.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from spinesearch.models.layers import ConvNorm, LayerStyle, StochasticDepth, resize_nearest, variance_scaling_
from spinesearch.space.cost.widths import MBCONV_EXPANSION, se_filters


class SqueezeExcitation(nn.Module):
    """Scales every channel by a gate in 0..1 that is computed from the means of all channels.

    Args:
        channels: of input and output.
        squeezed_channels: between the two 1x1 convolutions.
        compat: v1 has swish and a sigmoid gate, v2 relu and the Model Garden's hard sigmoid, both of them
            whatever the network's activation is.
    """

    def __init__(self, channels: int, squeezed_channels: int, *, compat: str) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed_channels, 1)
        self.expand = nn.Conv2d(squeezed_channels, channels, 1)
        for conv in (self.reduce, self.expand):
            variance_scaling_(conv.weight)
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
        self.activation: nn.Module = nn.ReLU() if compat == "v2" else nn.SiLU()
        self.gate: nn.Module = HardSigmoid() if compat == "v2" else nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to the same shape."""
        squeezed = self.activation(self.reduce(x.mean((2, 3), keepdim=True)))
        gate: Tensor = self.gate(self.expand(squeezed))
        return gate * x


class HardSigmoid(nn.Module):
    """The Model Garden's sigmoid of straight lines; its slope is 0.16667, where `nn.Hardsigmoid`'s is 1/6."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, 0 up to -3 and 1.00002 from 3 on."""
        return F.relu6(x + 3.0) * 0.16667


class MBConv(nn.Module):
    """1x1 expansion, depthwise 3x3, squeeze-and-excitation and 1x1 projection; no activation at the end.

    Where input and output have one shape the input is added; otherwise there is no shortcut at all, and so
    nothing that a dropped branch could leave: stochastic depth is off then.

    Args:
        in_channels: channels of the input.
        filters: channels of the output.
        style: activation and normalisation.
        stride: step of the depthwise convolution, in pixels.
        stochastic_depth_rate: probability of dropping a sample's branch in training.
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        *,
        style: LayerStyle,
        stride: int = 1,
        stochastic_depth_rate: float = 0.0,
    ) -> None:
        super().__init__()
        expanded = MBCONV_EXPANSION * in_channels
        self.has_shortcut = in_channels == filters and stride == 1
        self.branch = nn.Sequential(
            ConvNorm(in_channels, expanded, 1, style=style),
            ConvNorm(expanded, expanded, 3, stride=stride, depthwise=True, style=style),
            SqueezeExcitation(expanded, se_filters(in_channels), compat=style.compat),
            ConvNorm(expanded, filters, 1, activate=False, style=style),
            StochasticDepth(stochastic_depth_rate if self.has_shortcut else 0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] to [B, filters, ceil(H / stride), ceil(W / stride)]."""
        out: Tensor = self.branch(x)
        return out.add_(x) if self.has_shortcut else out


class DepthwiseResample(nn.Module):
    """Change of resolution, then a 1x1 convolution to the reading block's width without activation.

    Going down, every level is one depthwise 3x3 convolution of stride 2 with norm and activation, which takes
    a side to half of it, rounded up, and so exactly to the target's. The levels alone decide which weights
    exist; the released code counts halvings of the width, the same thing above 64 pixels.

    Args:
        in_channels: channels of the parent's feature.
        out_channels: channels of the reading block's input.
        num_down: levels from the parent down to the reading block; 0 where it is not higher.
        style: activation and normalisation.
    """

    def __init__(self, in_channels: int, out_channels: int, *, num_down: int, style: LayerStyle) -> None:
        super().__init__()
        self.down = nn.Sequential(
            *(
                ConvNorm(in_channels, in_channels, 3, stride=2, depthwise=True, style=style)
                for _ in range(num_down)
            )
        )
        self.expand = ConvNorm(in_channels, out_channels, 1, activate=False, style=style)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """[B, in_channels, h, w] to [B, out_channels, *size]."""
        out: Tensor = self.expand(resize_nearest(self.down(x), size))
        return out
