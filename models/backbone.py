"""From a spec to the network: `ScalePermutedBackbone`, the multi-scale features of an image.

Shapes: B images of H x W pixels; a feature of level l is [B, C, ceil(H / 2**l), ceil(W / 2**l)].
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from torch import Tensor, nn

from spinesearch.models.blocks import block_out_channels, build_repeats
from spinesearch.models.layers import BN_EPS, BN_MOMENTUM, ConvNorm, LayerStyle, max_pool_same
from spinesearch.models.mbconv import DepthwiseResample
from spinesearch.models.resample import Resample
from spinesearch.space import ArchSpec, BlockSpec, preset

# Width of a block's 3x3 convolution at each level (table 8 of the paper and the released code).
LEVEL_FILTERS = {1: 32, 2: 64, 3: 128, 4: 256, 5: 256, 6: 256, 7: 256}
# Output width of an MBConv block at each level, and of mobile SpineNet's first convolution (released code).
MBCONV_LEVEL_FILTERS = {1: 16, 2: 24, 3: 40, 4: 80, 5: 112, 6: 112, 7: 112}
MBCONV_STEM_CONV_FILTERS = 8
STEM_CONV_FILTERS = 64  # never scaled in the released code
MIN_IMAGE_SIDE = 32  # pixels; one pixel at level 5


class ScalePermutedBackbone(nn.Module):
    """The network of a spec: a stem, the scale-permuted blocks after it, and one endpoint per output level.

    A spec of bottlenecks and residual blocks has a ResNet's 7x7 convolution and pool before its stem blocks,
    which start from level 2; one of MBConv blocks has a 3x3 convolution alone and starts from level 1.

    Every block of the spec is built, because the parameter counts of published models are those of all
    blocks. `forward` skips blocks that no output depends on: their parameters get no gradient
    (``DistributedDataParallel`` then needs ``find_unused_parameters``). In training batch norm needs two
    values per channel, so PyTorch refuses a single image of 128 pixels or less, whose level 7 is one pixel.

    Args:
        spec: the architecture.
        filter_size_scale: factor on every block's width, rounded down; in an MBConv network on the first
            convolution's too.
        resample_alpha: width of a resampling's middle, as a fraction of the parent's 3x3 width, rounded down.
            The resamplings of an MBConv network have no middle.
        endpoints_num_filters: channels of every output feature.
        block_repeats: how many blocks are chained for each block of the spec, the stem's included.
        activation: ``relu`` or ``swish``; by default what the published models have, ``swish`` for MBConv
            blocks and ``relu`` for others.
        stochastic_depth_rate: probability of dropping a sample's branch in the last block. The n-th of N
            scale-permuted blocks has n / N of it, in each repeat; the stem has none.
        bn_momentum: weight of the newest batch in the running statistics (1 - TensorFlow's momentum).
        bn_eps: added to the variance by batch normalisation.

    Raises:
        ValueError: an argument is out of range, a width comes out as zero, or the stem's levels do not rise
            from level 2 (level 1 for MBConv blocks) by steps of 0 or 1.
    """

    def __init__(
        self,
        spec: ArchSpec,
        *,
        filter_size_scale: float = 1.0,
        resample_alpha: float = 0.5,
        endpoints_num_filters: int = 256,
        block_repeats: int = 1,
        activation: str | None = None,
        stochastic_depth_rate: float = 0.0,
        bn_momentum: float = BN_MOMENTUM,
        bn_eps: float = BN_EPS,
    ) -> None:
        super().__init__()
        for name, value in (
            ("block_repeats", block_repeats),
            ("endpoints_num_filters", endpoints_num_filters),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.spec = spec
        self.out_channels = endpoints_num_filters
        if activation is None:
            activation = "swish" if spec.is_mbconv else "relu"
        style = LayerStyle(activation=activation, bn_momentum=bn_momentum, bn_eps=bn_eps)
        blocks, num_stem = spec.all_blocks, len(spec.stem)
        level_filters = MBCONV_LEVEL_FILTERS if spec.is_mbconv else LEVEL_FILTERS
        filters = [_scaled(level_filters[b.level], filter_size_scale, "filter_size_scale") for b in blocks]
        channels = tuple(
            block_out_channels(block.block_type, width) for block, width in zip(blocks, filters, strict=True)
        )
        self.block_channels = channels

        if spec.is_mbconv:
            stem_filters = _scaled(MBCONV_STEM_CONV_FILTERS, filter_size_scale, "filter_size_scale")
            self.stem_conv = ConvNorm(3, stem_filters, 3, stride=2, style=style)
        else:
            stem_filters = STEM_CONV_FILTERS
            self.stem_conv = ConvNorm(3, stem_filters, 7, stride=2, style=style)
        # A stem block reads the one before it, any other a sum that is already of its own width.
        in_channels = (stem_filters, *channels[: num_stem - 1], *channels[num_stem:])
        strides = _stem_strides(spec) + [1] * len(spec.blocks)
        self.blocks = nn.ModuleList(
            build_repeats(
                block.block_type,
                in_channels[i],
                filters[i],
                repeats=block_repeats,
                stride=strides[i],
                stochastic_depth_rate=stochastic_depth_rate * max(i + 1 - num_stem, 0) / len(spec.blocks),
                style=style,
            )
            for i, block in enumerate(blocks)
        )

        def build_resample(parent: int, child: int) -> Resample | DepthwiseResample:
            num_down = max(blocks[child].level - blocks[parent].level, 0)
            ends = channels[parent], channels[child]
            if spec.is_mbconv:
                return DepthwiseResample(*ends, num_down=num_down, style=style)
            middle = _scaled(filters[parent], resample_alpha, "resample_alpha")
            return Resample(*ends, mid_channels=middle, down=num_down > 0, style=style)

        self.resamples = nn.ModuleList(  # of block id - len(stem): one per parent
            nn.ModuleList(build_resample(parent, child) for parent in block.parents)
            for child, block in enumerate(spec.blocks, start=num_stem)
        )
        self.activation = style.build_activation()
        self.endpoints = nn.ModuleDict(
            {
                str(level): ConvNorm(channels[i], endpoints_num_filters, 1, style=style)
                for level, i in spec.output_ids.items()
            }
        )

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """Output features of a batch.

        Args:
            images: [B, 3, H, W], normalised, with sides of at least 32 pixels.

        Returns:
            Per level 3..7, rising: [B, endpoints_num_filters, ceil(H / 2**level), ceil(W / 2**level)].

        Raises:
            ValueError: the images have another shape.
        """
        plan = self._plan(images)
        features = self._run(images, plan, plan.live)
        return {level: self.endpoints[str(level)](features[i]) for level, i in self.spec.output_ids.items()}

    def block_features(self, images: Tensor) -> list[Tensor]:
        """What every block puts out, by block id, dead blocks included; images as for `forward`."""
        features = self._run(images, self._plan(images), range(len(self.spec)))
        return list(features.values())

    def _plan(self, images: Tensor) -> _Plan:
        shape = tuple(images.shape)
        if len(shape) != 4 or shape[1] != 3 or min(shape[2:]) < MIN_IMAGE_SIDE:
            raise ValueError(
                f"images: expected [B, 3, H, W], H and W at least {MIN_IMAGE_SIDE} pixels, got {list(shape)}"
            )
        return _plan_for_size(self.spec, self.block_channels, shape[2], shape[3])

    def _run(self, images: Tensor, plan: _Plan, wanted: Collection[int]) -> dict[int, Tensor]:
        """Features of the wanted blocks by id, rising; `wanted` must hold all that its blocks read."""
        features: dict[int, Tensor] = {}
        x: Tensor = self.stem_conv(images)
        if not self.spec.is_mbconv:
            x = max_pool_same(x, (3, 3), (2, 2))
        for i, block in enumerate(self.spec.all_blocks):
            if i not in wanted:
                continue
            if i >= len(self.spec.stem):
                x = self._fuse(i, block, features, plan)
            x = features[i] = self.blocks[i](x)
        return features

    def _fuse(self, i: int, block: BlockSpec, features: dict[int, Tensor], plan: _Plan) -> Tensor:
        """What block i takes in: the activated sum of its resampled parents and of its unresampled inputs."""
        resamples = self.resamples[i - len(self.spec.stem)]
        assert isinstance(resamples, nn.ModuleList)
        first, second = (
            resample(features[parent], plan.sizes[i])
            for resample, parent in zip(resamples, block.parents, strict=True)
        )
        fused: Tensor = first + second
        for j in plan.unresampled[i]:
            fused = fused + features[j]
        activated: Tensor = self.activation(fused)
        return activated


def build_backbone(spec: ArchSpec | str, **kwargs: Any) -> ScalePermutedBackbone:
    """Backbone of a spec, or of the published one of this name, with `ScalePermutedBackbone`'s arguments."""
    return ScalePermutedBackbone(preset(spec) if isinstance(spec, str) else spec, **kwargs)


class _Plan(NamedTuple):
    """What the size of the images decides, by block id; `live` are the blocks that some output depends on."""

    sizes: tuple[tuple[int, int], ...]
    unresampled: tuple[tuple[int, ...], ...]
    live: frozenset[int]


@lru_cache(maxsize=1024)
def _plan_for_size(spec: ArchSpec, channels: tuple[int, ...], height: int, width: int) -> _Plan:
    blocks, num_stem = spec.all_blocks, len(spec.stem)
    sizes = tuple((-(-height >> block.level), -(-width >> block.level)) for block in blocks)
    unresampled = spec.unresampled_inputs(lambda i: (*sizes[i], channels[i]))
    # Small images give levels equal sizes and so more unresampled inputs: what lives depends on the size too.
    live = set(spec.output_ids.values())
    for i in reversed(range(1, len(blocks))):
        if i in live:
            live.update((*blocks[i].parents, *unresampled[i]) if i >= num_stem else (i - 1,))
    return _Plan(sizes, unresampled, frozenset(live))


def _stem_strides(spec: ArchSpec) -> list[int]:
    start = 1 if spec.is_mbconv else 2  # the level that the stem's first block reads
    levels = [start, *(block.level for block in spec.stem)]
    for i, (before, level) in enumerate(pairwise(levels)):
        if level - before not in (0, 1):
            raise ValueError(
                f"stem block {i}: level must be {before} or {before + 1} (a stem starts from level "
                f"{start} and rises by at most 1 per block), got {level}"
            )
    return [2 ** (level - before) for before, level in pairwise(levels)]


def _scaled(filters: int, factor: float, name: str) -> int:
    """Truncated product, as the released code scales widths."""
    scaled = int(filters * factor)
    if scaled < 1:
        raise ValueError(
            f"{name}: {factor} leaves none of {filters} filters, at least {1 / filters} is needed"
        )
    return scaled
