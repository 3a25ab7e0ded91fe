"""Brings a parent's feature to the level and width of the block that reads it (section 3.3 of the paper)."""

from __future__ import annotations

from torch import Tensor, nn

from spinesearch.models.layers import ConvNorm, LayerStyle, max_pool_same, resize_nearest
from spinesearch.models.pointwise import can_rewrite, expand_norm


class Resample(nn.Module):
    """Squeeze by a 1x1 convolution, change of resolution, expansion by a 1x1 convolution without activation.

    The levels decide which weights exist: going down (to a higher level) has one 3x3 convolution of stride 2.
    The sizes at run time decide the rest, for each axis by itself: max-pooling where the input is more than
    twice the target, and a nearest resize for whatever is left. The released code looks at the width alone,
    which is the same for square images.

    The paper's code has one pool whose stride takes all the rest of the way, the Model Garden's one of stride
    2 for every further level.

    Args:
        in_channels: channels of the parent's feature.
        mid_channels: channels between the two 1x1 convolutions.
        out_channels: channels of the reading block's input.
        down: whether the reading block is at a higher level (a lower resolution) than the parent.
        style: activation and normalisation.
    """

    def __init__(
        self, in_channels: int, mid_channels: int, out_channels: int, *, down: bool, style: LayerStyle
    ) -> None:
        super().__init__()
        self.squeeze = ConvNorm(in_channels, mid_channels, 1, style=style)
        self.down = ConvNorm(mid_channels, mid_channels, 3, stride=2, style=style) if down else None
        self.expand = ConvNorm(mid_channels, out_channels, 1, activate=False, style=style)
        self.compat = style.compat

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """[B, in_channels, h, w] to [B, out_channels, *size]."""
        return self.rescale(self.squeeze(x), size)

    def rescale(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """What follows the squeeze: [B, mid_channels, h, w] to [B, out_channels, *size]."""
        height, width = x.shape[-2:]
        if self.down is not None:
            x = self.down(x)
            x = halving_pools(x, size) if self.compat == "v2" else single_pool(x, (height, width), size)
        is_training = self.expand.norm.training
        if is_training and _grows_by_whole_factors(x, size) and can_rewrite(x, (self.expand,)):
            return resize_nearest(expand_norm(x, self.expand, size=size), size)
        out: Tensor = self.expand(resize_nearest(x, size))
        return out


def _grows_by_whole_factors(x: Tensor, size: tuple[int, int]) -> bool:
    height, width = x.shape[-2:]
    return (height, width) != size and size[0] % height == 0 and size[1] % width == 0


def single_pool(x: Tensor, before: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """[B, C, h, w] pooled once as the paper's code does, towards `size`, which the sides may miss.

    Args:
        x: output of the stride-2 convolution.
        before: height and width of that convolution's input.
        size: height and width of the reading block's input.
    """
    kernel_h, stride_h = pool_window(before[0], size[0])
    kernel_w, stride_w = pool_window(before[1], size[1])
    if (kernel_h, kernel_w) == (1, 1):
        return x
    return max_pool_same(x, (kernel_h, kernel_w), (stride_h, stride_w))


def halving_pools(x: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, C, h, w] halved by 3x3 pools of stride 2 as in the Model Garden, until no side exceeds `size`."""
    while x.shape[-2] > size[0] or x.shape[-1] > size[1]:
        kernel_h, stride_h = (3, 2) if x.shape[-2] > size[0] else (1, 1)
        kernel_w, stride_w = (3, 2) if x.shape[-1] > size[1] else (1, 1)
        x = max_pool_same(x, (kernel_h, kernel_w), (stride_h, stride_w))
    return x


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
