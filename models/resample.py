"""Brings a parent's feature to the level and width of the block that reads it (section 3.3 of the paper)."""

from __future__ import annotations

from torch import Tensor, nn

from spinesearch.models.layers import ConvNorm, LayerStyle, max_pool_same, resize_nearest


class Resample(nn.Module):
    """Squeeze by a 1x1 convolution, change of resolution, expansion by a 1x1 convolution without activation.

    The levels decide which weights exist: going down (to a higher level) has one 3x3 convolution of stride 2.
    The sizes at run time decide the rest, for each axis by itself: a max-pool where the input is more than
    twice the target, and a nearest resize for whatever is left. The released code looks at the width alone,
    which is the same for square images.

    Args:
        in_channels: channels of the parent's feature.
        out_channels: channels that the reading block takes in.
        mid_channels: channels between the two 1x1 convolutions.
        down: whether the reading block stands at a higher level (a lower resolution) than the parent.
        style: activation and normalisation.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, mid_channels: int, down: bool, style: LayerStyle
    ) -> None:
        super().__init__()
        self.squeeze = ConvNorm(in_channels, mid_channels, 1, style=style)
        self.down = ConvNorm(mid_channels, mid_channels, 3, stride=2, style=style) if down else None
        self.expand = ConvNorm(mid_channels, out_channels, 1, activate=False, style=style)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """[B, in_channels, h, w] to [B, out_channels, *size]."""
        height, width = x.shape[-2:]
        x = self.squeeze(x)
        if self.down is not None:
            x = self.down(x)
            kernel_h, stride_h = pool_window(height, size[0])
            kernel_w, stride_w = pool_window(width, size[1])
            if (kernel_h, kernel_w) != (1, 1):
                x = max_pool_same(x, (kernel_h, kernel_w), (stride_h, stride_w))
        out: Tensor = self.expand(resize_nearest(x, size))
        return out


def pool_window(side: int, target: int) -> tuple[int, int]:
    """Kernel and stride of the pool that follows the stride-2 convolution; (1, 1) where none is needed.

    The released code's rule, `side` being that before the convolution: a pool where ``side // target > 2``,
    kernel 3 up to a ratio of 4 and 5 beyond, stride half the ratio rounded down (2 for a fractional ratio).
    """
    if side // target <= 2:
        return 1, 1
    kernel_size = 3 if side <= 4 * target else 5
    stride = side // target // 2 if side % target == 0 else 2
    return kernel_size, stride
