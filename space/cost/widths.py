"""How wide the parts of a network are: arithmetic that the models and the cost model share.

A block's filters are the width of its inner 3x3 convolution; the channels that it puts out follow from its
type. "The released code" is the authors': github.com/tensorflow/tpu, models/official/detection.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from spinesearch.space.arch.resnet import RESNET_FILTERS, RESNET_LEVELS
from spinesearch.space.arch.spec import ArchSpec, SpecError
from spinesearch.space.cost.fusion import check_fusion

# Filters of a block at each level: the paper's table 8 and the released code (spinenet.py).
LEVEL_FILTERS = {1: 32, 2: 64, 3: 128, 4: 256, 5: 256, 6: 256, 7: 256}
STEM_CONV_FILTERS = 64  # of the 7x7 convolution; never scaled in the released code
# Likewise for MBConv blocks: appendix A of the paper and the released code (spinenet_mbconv.py). Level 0 is
# the stem's 3x3 convolution, which is scaled.
MBCONV_LEVEL_FILTERS = {0: 8, 1: 16, 2: 24, 3: 40, 4: 80, 5: 112, 6: 112, 7: 112}
MBCONV_EXPANSION = 6  # inner width of an MBConv block, in widths of its input
SE_RATIO = 0.2  # width of its squeeze-and-excitation, in widths of its input
_CHANNELS_PER_FILTER = {"bottleneck": 4, "residual": 1, "mbconv": 1}


class Widths(NamedTuple):
    """Widths of a network's parts; the tuples are by block id.

    Attributes:
        stem_conv: channels of the stem's first convolution.
        filters: the blocks' filters.
        channels: channels that the blocks put out.
        resample: channels in the middle of a resampling, by the parent that it reads; empty for MBConv
            blocks, which are joined without a squeeze.
    """

    stem_conv: int
    filters: tuple[int, ...]
    channels: tuple[int, ...]
    resample: tuple[int, ...]


def network_widths(
    spec: ArchSpec,
    *,
    filter_size_scale: float,
    resample_alpha: float,
    stem_filters: int | None = None,
    fusion: str = "sum",
) -> Widths:
    """Widths of a spec's network.

    Args:
        spec: the architecture.
        filter_size_scale: factor on every block's filters, rounded down.
        resample_alpha: middle of a resampling as a fraction of the parent's filters, rounded down; MBConv
            blocks have no use for it.
        stem_filters: of the first convolution; None for what the released code has, 64 however narrow the
            rest, and 8 scaled in MBConv networks.
        fusion: one of `FUSIONS`; in all but the sum every middle has the width that the widest block's has.

    Raises:
        SpecError: a factor is not positive and finite, or leaves no filter, ``stem_filters`` is no count, or
            the network cannot have this fusion.
    """
    _check_stem(stem_filters)
    check_fusion(fusion, spec)
    table = MBCONV_LEVEL_FILTERS if spec.is_mbconv else LEVEL_FILTERS
    blocks = spec.all_blocks
    levels = sorted({block.level for block in blocks})
    by_level = {level: scaled(table[level], filter_size_scale, "filter_size_scale") for level in levels}
    filters = tuple(by_level[block.level] for block in blocks)
    channels = tuple(
        block_out_channels(block.block_type, width) for block, width in zip(blocks, filters, strict=True)
    )
    if spec.is_mbconv:
        stem = stem_filters or scaled(table[0], filter_size_scale, "filter_size_scale")
        return Widths(stem, filters, channels, ())
    widest = max(by_level.values())
    middles = {
        width: scaled(width if fusion == "sum" else widest, resample_alpha, "resample_alpha")
        for width in by_level.values()
    }
    stem = stem_filters or STEM_CONV_FILTERS
    return Widths(stem, filters, channels, tuple(middles[width] for width in filters))


def resnet_widths(*, filter_size_scale: float, stem_filters: int | None) -> tuple[int, dict[int, int]]:
    """Channels of a ResNet's first convolution, and the filters of its blocks by level.

    The arguments are those of `network_widths`. The published ResNets have scale 1; others are for comparison
    with scale-permuted networks of that scale.

    Raises:
        SpecError: as `network_widths`.
    """
    _check_stem(stem_filters)
    filters = zip(RESNET_LEVELS, RESNET_FILTERS, strict=True)
    by_level = {level: scaled(width, filter_size_scale, "filter_size_scale") for level, width in filters}
    return stem_filters or STEM_CONV_FILTERS, by_level


def _check_stem(stem_filters: int | None) -> None:
    if stem_filters is not None and (type(stem_filters) is not int or stem_filters < 1):
        raise SpecError(f"stem_filters: must be a whole number of at least 1, got {stem_filters!r}")


def block_out_channels(block_type: str, filters: int) -> int:
    """Channels that a block of this type and width puts out."""
    return _CHANNELS_PER_FILTER[block_type] * filters


def se_filters(in_channels: int) -> int:
    """Channels between the two 1x1 convolutions of an MBConv block's squeeze-and-excitation.

    Args:
        in_channels: channels that the block takes in, before its expansion.
    """
    return max(1, int(in_channels * SE_RATIO))


def scaled(filters: int, factor: float, name: str) -> int:
    """The product rounded down, as the released code scales widths.

    Args:
        filters: at scale 1.
        factor: positive.
        name: the argument that holds the factor, for the message.

    Raises:
        SpecError: the factor is not positive and finite, or leaves no filter.
    """
    if not 0.0 < factor < math.inf:
        raise SpecError(f"{name}: must be positive and finite, got {factor}")
    product = int(filters * factor)
    if product < 1:
        raise SpecError(
            f"{name}: {factor} leaves none of {filters} filters, at least {1 / filters} is needed"
        )
    return product
