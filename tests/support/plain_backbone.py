"""SpineNet as one writes it down in PyTorch: NCHW, one module per operation, every sum a new tensor.

The rewrites of `spinesearch.models` are held against this, in tests and by `make bench-models`. It has the
names of `ScalePermutedBackbone`, and so its state dict, and shares what no rewrite touches: widths and sizes,
padding and pools, squeeze-and-excitation, stochastic depth.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from spinesearch.models.backbone import ScalePermutedBackbone
from spinesearch.models.layers import (
    LayerStyle,
    SameConv2d,
    StochasticDepth,
    build_style,
    max_pool_same,
    resize_nearest,
)
from spinesearch.models.mbconv import SqueezeExcitation
from spinesearch.models.resample import halving_pools, single_pool
from spinesearch.space.cost.plan import plan_for_size, stem_strides
from spinesearch.space.cost.widths import MBCONV_EXPANSION, network_widths, se_filters


class PlainBackbone(nn.Module):
    """The same network as another, with copies of its weights, in its mode and dtype."""

    def __init__(self, twin: ScalePermutedBackbone) -> None:
        super().__init__()
        spec = self.spec = twin.spec
        arguments = dict(twin.arguments)
        scale, alpha = arguments.pop("filter_size_scale"), arguments.pop("resample_alpha")
        endpoint, repeats = arguments.pop("endpoints_num_filters"), arguments.pop("block_repeats")
        rate, stem_filters = arguments.pop("stochastic_depth_rate"), arguments.pop("stem_filters")
        style = build_style(**arguments)
        widths = network_widths(
            spec, filter_size_scale=scale, resample_alpha=alpha, stem_filters=stem_filters
        )
        channels = self.channels = widths.channels
        blocks, num_stem = spec.all_blocks, len(spec.stem)

        self.stem_conv = conv_norm(3, widths.stem_conv, 3 if spec.is_mbconv else 7, style, stride=2)
        in_channels = (widths.stem_conv, *channels[: num_stem - 1], *channels[num_stem:])
        strides = (*stem_strides(spec), *[1] * len(spec.blocks))
        self.blocks = nn.ModuleList()
        for i, block in enumerate(blocks):
            drop = rate * max(i + 1 - num_stem, 0) / len(spec.blocks)
            kind, filters = block.block_type, widths.filters[i]
            first = Block(kind, in_channels[i], filters, style, drop, stride=strides[i])
            others = (Block(kind, channels[i], filters, style, drop) for _ in range(repeats - 1))
            self.blocks.append(nn.Sequential(first, *others))

        def resample(parent: int, child: int) -> nn.Module:
            num_down = max(blocks[child].level - blocks[parent].level, 0)
            if spec.is_mbconv:
                return DepthwiseResample(channels[parent], channels[child], num_down, style)
            return Resample(channels[parent], widths.resample[parent], channels[child], num_down > 0, style)

        self.resamples = nn.ModuleList(
            nn.ModuleList(resample(parent, child) for parent in block.parents)
            for child, block in enumerate(spec.blocks, start=num_stem)
        )
        self.activation = style.build_activation()
        self.endpoints = nn.ModuleDict(
            {str(level): conv_norm(channels[i], endpoint, 1, style) for level, i in spec.output_ids.items()}
        )
        self.to(next(twin.parameters()).dtype).train(twin.training).load_state_dict(twin.state_dict())

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """Images [B, 3, H, W] to features by level, [B, C, ceil(H / 2**level), ceil(W / 2**level)]."""
        plan = plan_for_size(self.spec, self.channels, images.shape[2], images.shape[3])
        features: dict[int, Tensor] = {}
        x = self.stem_conv(images)
        if not self.spec.is_mbconv:
            x = max_pool_same(x, (3, 3), (2, 2))
        for i, block in enumerate(self.spec.all_blocks):
            if i not in plan.live:
                continue
            if i >= len(self.spec.stem):
                first, second = (
                    resample(features[parent], plan.sizes[i])
                    for resample, parent in zip(self._resamples_of(i), block.parents, strict=True)
                )
                x = first + second
                for j in plan.unresampled[i]:
                    x = x + features[j]
                x = self.activation(x)
            x = features[i] = self.blocks[i](x)
        return {level: self.endpoints[str(level)](features[i]) for level, i in self.spec.output_ids.items()}

    def _resamples_of(self, i: int) -> Any:
        return self.resamples[i - len(self.spec.stem)]


class Block(nn.Module):
    """A bottleneck, a residual block or an MBConv block."""

    def __init__(
        self, kind: str, in_channels: int, filters: int, style: LayerStyle, drop: float, *, stride: int = 1
    ) -> None:
        super().__init__()
        self.shortcut: nn.Module | None = nn.Identity()
        match kind:
            case "mbconv":
                inner = MBCONV_EXPANSION * in_channels
                layers: list[nn.Module] = [
                    conv_norm(in_channels, inner, 1, style),
                    conv_norm(inner, inner, 3, style, stride=stride, depthwise=True),
                    SqueezeExcitation(inner, se_filters(in_channels), compat=style.compat),
                    conv_norm(inner, filters, 1, style, activate=False),
                ]
                if in_channels != filters or stride != 1:
                    self.shortcut = None
            case "bottleneck":
                layers = [
                    conv_norm(in_channels, filters, 1, style),
                    conv_norm(filters, filters, 3, style, stride=stride),
                    conv_norm(filters, 4 * filters, 1, style, activate=False),
                ]
            case "residual":
                layers = [
                    conv_norm(in_channels, filters, 3, style, stride=stride),
                    conv_norm(filters, filters, 3, style, activate=False),
                ]
        out_channels = 4 * filters if kind == "bottleneck" else filters
        if self.shortcut is not None and (in_channels != out_channels or stride != 1):
            self.shortcut = conv_norm(in_channels, out_channels, 1, style, stride=stride, activate=False)
        self.branch = nn.Sequential(*layers)
        self.drop = StochasticDepth(drop)
        self.activation = nn.Identity() if kind == "mbconv" else style.build_activation()

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.branch(x)
        if self.shortcut is None:
            return branch
        out: Tensor = self.activation(self.drop(branch) + self.shortcut(x))
        return out


class Resample(nn.Module):
    """Squeeze, change of resolution, expansion."""

    def __init__(
        self, in_channels: int, middle: int, out_channels: int, down: bool, style: LayerStyle
    ) -> None:
        super().__init__()
        self.squeeze = conv_norm(in_channels, middle, 1, style)
        self.down = conv_norm(middle, middle, 3, style, stride=2) if down else None
        self.expand = conv_norm(middle, out_channels, 1, style, activate=False)
        self.pools_by_halves = style.compat == "v2"

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        before = (x.shape[2], x.shape[3])
        x = self.squeeze(x)
        if self.down is not None:
            x = self.down(x)
            x = halving_pools(x, size) if self.pools_by_halves else single_pool(x, before, size)
        out: Tensor = self.expand(resize_nearest(x, size))
        return out


class DepthwiseResample(nn.Module):
    """Change of resolution, expansion."""

    def __init__(self, in_channels: int, out_channels: int, num_down: int, style: LayerStyle) -> None:
        super().__init__()
        self.down = nn.Sequential(
            *(
                conv_norm(in_channels, in_channels, 3, style, stride=2, depthwise=True)
                for _ in range(num_down)
            )
        )
        self.expand = conv_norm(in_channels, out_channels, 1, style, activate=False)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        out: Tensor = self.expand(resize_nearest(self.down(x), size))
        return out


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    style: LayerStyle,
    *,
    stride: int = 1,
    depthwise: bool = False,
    activate: bool = True,
) -> nn.Sequential:
    """Convolution, batch normalisation, activation."""
    is_same = style.compat == "v2" and stride > 1
    conv = (SameConv2d if is_same else nn.Conv2d)(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=0 if is_same else kernel_size // 2,
        groups=in_channels if depthwise else 1,
        bias=False,
    )
    parts: list[tuple[str, nn.Module]] = [("conv", conv), ("norm", style.build_norm(out_channels))]
    if activate:
        parts.append(("activation", style.build_activation()))
    return nn.Sequential(OrderedDict(parts))
