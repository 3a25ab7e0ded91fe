"""The building blocks of a scale-permuted network, and the chain of repeats that one block of a spec becomes.

Shapes: B images, H x W pixels. `filters` is the width of a block's 3x3 convolution (of an MBConv block's
output); its output width follows.
"""

from __future__ import annotations

from torch import Tensor, nn

from spinesearch.models.layers import ConvNorm, LayerStyle, StochasticDepth
from spinesearch.models.mbconv import MBConv
from spinesearch.space.cost.widths import block_out_channels


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution around a shortcut; outputs ``4 * filters`` channels.

    Args:
        in_channels: channels of the input.
        filters: channels of the 3x3 convolution.
        style: activation and normalisation.
        stride: step of the 3x3 convolution, in pixels.
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
        out_channels = block_out_channels("bottleneck", filters)
        self.shortcut = _shortcut(in_channels, out_channels, stride, style)
        self.branch = nn.Sequential(
            ConvNorm(in_channels, filters, 1, style=style),
            ConvNorm(filters, filters, 3, stride=stride, style=style),
            ConvNorm(filters, out_channels, 1, activate=False, style=style),
            StochasticDepth(stochastic_depth_rate),
        )
        self.activation = style.build_activation()

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] to [B, 4 * filters, ceil(H / stride), ceil(W / stride)]."""
        out: Tensor = self.activation(self.branch(x).add_(self.shortcut(x)))
        return out


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut; outputs `filters` channels.

    Args:
        in_channels: channels of the input.
        filters: channels of both convolutions.
        style: activation and normalisation.
        stride: step of the first convolution, in pixels.
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
        self.shortcut = _shortcut(in_channels, filters, stride, style)
        self.branch = nn.Sequential(
            ConvNorm(in_channels, filters, 3, stride=stride, style=style),
            ConvNorm(filters, filters, 3, activate=False, style=style),
            StochasticDepth(stochastic_depth_rate),
        )
        self.activation = style.build_activation()

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] to [B, filters, ceil(H / stride), ceil(W / stride)]."""
        out: Tensor = self.activation(self.branch(x).add_(self.shortcut(x)))
        return out


# One entry per name in `spinesearch.space.BLOCK_TYPES`.
BLOCKS: dict[str, type[Bottleneck] | type[Residual] | type[MBConv]] = {
    "bottleneck": Bottleneck,
    "residual": Residual,
    "mbconv": MBConv,
}


def build_repeats(
    block_type: str,
    in_channels: int,
    filters: int,
    *,
    repeats: int,
    style: LayerStyle,
    stride: int = 1,
    stochastic_depth_rate: float = 0.0,
) -> nn.Sequential:
    """Chain of equal blocks; only the first sees `in_channels` and `stride`, so only it may project."""
    block = BLOCKS[block_type]
    out_channels = block_out_channels(block_type, filters)
    return nn.Sequential(
        *(
            block(
                in_channels if i == 0 else out_channels,
                filters,
                style=style,
                stride=stride if i == 0 else 1,
                stochastic_depth_rate=stochastic_depth_rate,
            )
            for i in range(repeats)
        )
    )


def _shortcut(in_channels: int, out_channels: int, stride: int, style: LayerStyle) -> nn.Module:
    """The identity, or a 1x1 projection where the branch changes the shape."""
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    return ConvNorm(in_channels, out_channels, 1, stride=stride, activate=False, style=style)
