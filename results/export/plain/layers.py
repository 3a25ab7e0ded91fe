"""Layers and blocks. Shapes: B images, C channels, H x W pixels; a feature is [B, C, H, W].

Every layer keeps to SpineNet's padding: an output side is ceil(side / stride). ``compat`` is ``v1`` for the
padding of the paper's code and ``v2`` for that of the TensorFlow Model Garden.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Style:
    """What all layers have in common: activation (relu, swish, hard_swish), normalisation, padding."""

    activation: str
    bn_momentum: float
    bn_eps: float
    compat: str

    def build_activation(self) -> nn.Module:
        """The activation of this style."""
        return {"relu": nn.ReLU, "swish": nn.SiLU, "hard_swish": nn.Hardswish}[self.activation]()

    def build_norm(self, channels: int) -> nn.BatchNorm2d:
        """Batch normalisation over this many channels."""
        return nn.BatchNorm2d(channels, eps=self.bn_eps, momentum=self.bn_momentum)


class ConvNorm(nn.Module):
    """Convolution without bias, batch normalisation and, by default, the activation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        style: Style,
        stride: int = 1,
        depthwise: bool = False,
        activate: bool = True,
    ) -> None:
        super().__init__()
        self.is_same = style.compat == "v2" and stride > 1
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=0 if self.is_same else kernel_size // 2,
            groups=in_channels if depthwise else 1,
            bias=False,
        )
        self.norm = style.build_norm(out_channels)
        self.activation = style.build_activation() if activate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] to [B, out_channels, ceil(H / stride), ceil(W / stride)]."""
        if self.is_same:
            x = pad_same(x, self.conv.kernel_size, self.conv.stride, 0.0)
        out: Tensor = self.activation(self.norm(self.conv(x)))
        return out


def pad_same(x: Tensor, kernel_size: tuple[int, ...], stride: tuple[int, ...], value: float) -> Tensor:
    """[B, C, H, W] with TensorFlow's SAME padding around it, the smaller half before."""
    pads: list[int] = []
    for side, k, s in zip(reversed(x.shape[-2:]), reversed(kernel_size), reversed(stride), strict=True):
        total = max((-(-side // s) - 1) * s + k - side, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value) if any(pads) else x


def max_pool_same(x: Tensor, kernel_size: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    """Max-pool with SAME padding, to sides ceil(side / stride); a padded pixel never wins."""
    return F.max_pool2d(pad_same(x, kernel_size, stride, float("-inf")), kernel_size, stride)


def resize_nearest(x: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, C, H, W] at another size: pixel i of n reads pixel floor(i * side / n)."""
    height, width = x.shape[-2:]
    if (height, width) == size:
        return x
    if size[0] % height == 0 and size[1] % width == 0:
        return F.interpolate(x, size=size, mode="nearest")
    rows = torch.arange(size[0], device=x.device) * height // size[0]
    columns = torch.arange(size[1], device=x.device) * width // size[1]
    return x.index_select(2, rows).index_select(3, columns)


class StochasticDepth(nn.Module):
    """In training, drops a sample's branch with this probability and rescales the others."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        if not self.training or self.rate == 0.0:
            return x
        keep = x.new_empty((x.shape[0], 1, 1, 1)).bernoulli_(1.0 - self.rate)
        return x * (keep / (1.0 - self.rate))


class SqueezeExcitation(nn.Module):
    """Scales every channel by a gate in 0..1 that is computed from the means of all channels."""

    def __init__(self, channels: int, squeezed_channels: int, *, compat: str) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed_channels, 1)
        self.expand = nn.Conv2d(squeezed_channels, channels, 1)
        self.compat = compat

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to the same shape."""
        squeezed = self.reduce(x.mean((2, 3), keepdim=True))
        if self.compat == "v2":  # the Model Garden's hard sigmoid, whose slope is not quite 1/6
            return F.relu6(self.expand(F.relu(squeezed)) + 3.0) * 0.16667 * x
        return torch.sigmoid(self.expand(F.silu(squeezed))) * x


class Block(nn.Module):
    """A bottleneck, a residual block or an MBConv block, with its shortcut."""

    def __init__(
        self, kind: str, in_channels: int, filters: int, *, style: Style, stride: int, drop_rate: float
    ) -> None:
        super().__init__()
        if kind == "mbconv":
            inner = 6 * in_channels
            squeezed = max(1, int(in_channels * 0.2))
            out_channels = filters
            layers: list[nn.Module] = [
                ConvNorm(in_channels, inner, 1, style=style),
                ConvNorm(inner, inner, 3, stride=stride, depthwise=True, style=style),
                SqueezeExcitation(inner, squeezed, compat=style.compat),
                ConvNorm(inner, filters, 1, activate=False, style=style),
            ]
        elif kind == "bottleneck":
            out_channels = 4 * filters
            layers = [
                ConvNorm(in_channels, filters, 1, style=style),
                ConvNorm(filters, filters, 3, stride=stride, style=style),
                ConvNorm(filters, out_channels, 1, activate=False, style=style),
            ]
        else:
            out_channels = filters
            layers = [
                ConvNorm(in_channels, filters, 3, stride=stride, style=style),
                ConvNorm(filters, filters, 3, activate=False, style=style),
            ]
        is_same_shape = in_channels == out_channels and stride == 1
        self.is_mbconv = kind == "mbconv"
        self.has_shortcut = is_same_shape or not self.is_mbconv
        self.shortcut: nn.Module = nn.Identity()
        if not is_same_shape and not self.is_mbconv:
            self.shortcut = ConvNorm(in_channels, out_channels, 1, stride=stride, activate=False, style=style)
        self.branch = nn.Sequential(*layers, StochasticDepth(drop_rate if self.has_shortcut else 0.0))
        self.activation = nn.Identity() if self.is_mbconv else style.build_activation()

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] to [B, out_channels, ceil(H / stride), ceil(W / stride)]."""
        out: Tensor = self.branch(x)
        if self.has_shortcut:
            out = out + self.shortcut(x)
        out = self.activation(out)
        return out


def build_repeats(
    kind: str, channels: tuple[int, int, int], *, repeats: int, style: Style, stride: int, drop_rate: float
) -> nn.Sequential:
    """A chain of equal blocks, the first of which sees the input; channels: in, filters, out."""
    in_channels, filters, out_channels = channels
    first = Block(kind, in_channels, filters, style=style, stride=stride, drop_rate=drop_rate)
    others = (
        Block(kind, out_channels, filters, style=style, stride=1, drop_rate=drop_rate)
        for _ in range(repeats - 1)
    )
    return nn.Sequential(first, *others)
