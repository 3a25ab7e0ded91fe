"""A scale-permuted backbone: a stem, blocks that each read two earlier ones, and five endpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from spinesearch.results.export.plain.layers import (
    ConvNorm,
    Style,
    build_repeats,
    max_pool_same,
    resize_nearest,
)


class ScalePermutedBackbone(nn.Module):
    """The features of an image at levels 3 to 7.

    Args:
        blocks: of each block, the stem's first: level, type, parents, whether it is an output, ``channels``
            (taken in, of its 3x3 convolution, put out), ``stride``, the ``middle`` of resamplings that read
            it, and its ``drop_rate``.
        num_stem: how many of them are the stem's.
        stem_conv: channels of the first convolution.
        endpoints: channels of every output feature.
        repeats: blocks that are chained for each.
        style: activation, normalisation and padding.
    """

    def __init__(
        self,
        *,
        blocks: Sequence[Mapping[str, Any]],
        num_stem: int,
        stem_conv: int,
        endpoints: int,
        repeats: int,
        style: Style,
    ) -> None:
        super().__init__()
        self.specs, self.num_stem = list(blocks), num_stem
        self.is_mbconv = blocks[0]["type"] == "mbconv"
        self.stem_conv = ConvNorm(3, stem_conv, 3 if self.is_mbconv else 7, stride=2, style=style)
        self.blocks = nn.ModuleList(
            build_repeats(
                block["type"],
                block["channels"],
                repeats=repeats,
                style=style,
                stride=block["stride"],
                drop_rate=block["drop_rate"],
            )
            for block in blocks
        )
        self.resamples: Any = SumFusion(blocks, num_stem, style)
        self.activation = style.build_activation()
        self.outputs = {b["level"]: i for i, b in enumerate(blocks) if b["is_output"]}
        self.endpoints = nn.ModuleDict(
            {
                str(level): ConvNorm(blocks[self.outputs[level]]["channels"][2], endpoints, 1, style=style)
                for level in sorted(self.outputs)
            }
        )

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """Images [B, 3, H, W] to features [B, C, ceil(H / 2**level), ceil(W / 2**level)] by level."""
        height, width = images.shape[-2:]
        sizes = [(-(-height >> b["level"]), -(-width >> b["level"])) for b in self.specs]
        unresampled = self._unresampled(sizes)
        live = self._live(unresampled)
        x = self.stem_conv(images)
        if not self.is_mbconv:
            x = max_pool_same(x, (3, 3), (2, 2))
        features: dict[int, Tensor] = {}
        made: dict[Any, Tensor] = {}  # of features, for several readers
        for i in range(len(self.specs)):
            if i not in live:
                continue
            if i >= self.num_stem:
                x = self.resamples.read(i, features, sizes[i], made)
                for j in unresampled[i]:
                    x = x + features[j]
                x = self.activation(x)
            x = features[i] = self.blocks[i](x)
        return {level: self.endpoints[str(level)](features[i]) for level, i in sorted(self.outputs.items())}

    def _unresampled(self, sizes: list[tuple[int, int]]) -> list[list[int]]:
        """By block: the earlier features that nothing has read, which an output of their shape adds."""
        shapes = [(size, b["channels"][2]) for size, b in zip(sizes, self.specs, strict=True)]
        is_unread = [True] * len(shapes)
        inputs: list[list[int]] = []
        for i, block in enumerate(self.specs):
            for parent in block["parents"]:
                is_unread[parent] = False
            extra = [j for j in range(i) if is_unread[j] and shapes[j] == shapes[i]]
            inputs.append(extra if block["is_output"] else [])
            for j in inputs[-1]:
                is_unread[j] = False
        return inputs

    def _live(self, unresampled: list[list[int]]) -> set[int]:
        """The blocks that some output depends on; the others do not run."""
        live = set(self.outputs.values())
        for i in reversed(range(1, len(self.specs))):
            if i in live:
                parents = self.specs[i]["parents"] if i >= self.num_stem else (i - 1,)
                live.update((*parents, *unresampled[i]))
        return live


def build_backbone(config: Mapping[str, Any], style: Style) -> nn.Module:
    """The backbone of a configuration: `ScalePermutedBackbone`'s arguments."""
    return ScalePermutedBackbone(**config, style=style)


class SumFusion(nn.ModuleList):
    """The sum of a block's parents, each through a resampling of its own."""

    def __init__(self, blocks: Sequence[Mapping[str, Any]], num_stem: int, style: Style) -> None:
        super().__init__(
            nn.ModuleList(Resample(blocks[parent], block, style) for parent in block["parents"])
            for block in blocks[num_stem:]
        )
        self.num_stem = num_stem
        self.parents = [block["parents"] for block in blocks]

    def read(
        self, i: int, features: Mapping[int, Tensor], size: tuple[int, int], made: dict[Any, Tensor]
    ) -> Tensor:
        """What block i reads of the features so far, at its size and width."""
        resamples: Any = self[i - self.num_stem]
        parts = [resample(features[j], size) for resample, j in zip(resamples, self.parents[i], strict=True)]
        out: Tensor = sum(parts[1:], start=parts[0])
        return out


class Resample(nn.Module):
    """Brings a parent's feature to the size and width of the block that reads it.

    Between bottlenecks and residual blocks: a 1x1 convolution to the middle, one 3x3 convolution of stride 2
    on the way down, pools for what is left of it, and a 1x1 convolution. Between MBConv blocks: a depthwise
    convolution of stride 2 for each level down, and a 1x1 convolution. Nearest neighbours on the way up.
    """

    def __init__(self, parent: Mapping[str, Any], child: Mapping[str, Any], style: Style) -> None:
        super().__init__()
        self.is_mbconv = parent["type"] == "mbconv"
        self.compat = style.compat
        num_down = max(child["level"] - parent["level"], 0)
        middle = parent["channels"][2] if self.is_mbconv else parent["middle"]
        width = child["channels"][2]
        if self.is_mbconv:
            steps = (
                ConvNorm(middle, middle, 3, stride=2, depthwise=True, style=style) for _ in range(num_down)
            )
            self.down: nn.Module | None = nn.Sequential(*steps)
        else:
            self.squeeze = ConvNorm(parent["channels"][2], middle, 1, style=style)
            self.down = ConvNorm(middle, middle, 3, stride=2, style=style) if num_down else None
        self.expand = ConvNorm(middle, width, 1, activate=False, style=style)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """[B, C, h, w] to [B, width of the child, *size]."""
        if not self.is_mbconv:
            x = self.squeeze(x)
        before = (x.shape[-2], x.shape[-1])
        if self.down is not None:
            x = self.down(x)
            if not self.is_mbconv:
                x = pool_halves(x, size) if self.compat == "v2" else pool_once(x, before, size)
        out: Tensor = self.expand(resize_nearest(x, size))
        return out


def pool_once(x: Tensor, before: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """The paper's code: one pool for all that the convolution of stride 2 has left."""
    kernels, strides = [], []
    for side, target in zip(before, size, strict=True):
        if side // target <= 2:
            kernels.append(1)
            strides.append(1)
        else:
            kernels.append(3 if side <= 4 * target else 5)
            strides.append(side // target // 2 if side % target == 0 else 2)
    if kernels == [1, 1]:
        return x
    return max_pool_same(x, (kernels[0], kernels[1]), (strides[0], strides[1]))


def pool_halves(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The Model Garden: pools of stride 2 until no side exceeds the target's."""
    while x.shape[-2] > size[0] or x.shape[-1] > size[1]:
        high, wide = x.shape[-2] > size[0], x.shape[-1] > size[1]
        x = max_pool_same(x, (3 if high else 1, 3 if wide else 1), (2 if high else 1, 2 if wide else 1))
    return x
