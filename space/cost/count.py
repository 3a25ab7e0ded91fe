"""The layers of a backbone and of a RetinaNet head, counted one by one, for `spinesearch.space.cost.cost`."""

from __future__ import annotations

from collections.abc import Set
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from spinesearch.space.arch.resnet import LATERAL_LEVELS, RESNET_LEVELS, ResNetSpec
from spinesearch.space.arch.spec import OUTPUT_LEVELS, ArchSpec
from spinesearch.space.cost.count_fusion import count_shared_fusion
from spinesearch.space.cost.plan import SizePlan, plan_for_size, stem_strides
from spinesearch.space.cost.tally import Tally
from spinesearch.space.cost.widths import (
    MBCONV_EXPANSION,
    Widths,
    block_out_channels,
    network_widths,
    resnet_widths,
    se_filters,
)


def count_scale_permuted(
    tally: Tally,
    spec: ArchSpec,
    *,
    filter_size_scale: float,
    resample_alpha: float,
    endpoints_num_filters: int,
    block_repeats: int,
    stem_filters: int | None,
    live_only: bool,
    fusion: str,
) -> None:
    """Count a scale-permuted backbone; the arguments are those of `backbone_cost`."""
    widths = network_widths(
        spec,
        filter_size_scale=filter_size_scale,
        resample_alpha=resample_alpha,
        stem_filters=stem_filters,
        fusion=fusion,
    )
    plan = plan_for_size(spec, widths.channels, *tally.image_size)
    counted = plan.live if live_only else frozenset(range(len(spec)))
    _count_stem(tally, spec, widths, plan, block_repeats, counted)
    _count_permuted(tally, spec, widths, plan, block_repeats, counted, is_sum=fusion == "sum")
    if fusion != "sum":
        count_shared_fusion(tally, spec, widths, plan, counted, has_keys=fusion == "attention")
    for level, i in spec.output_ids.items():
        tally.conv_norm(widths.channels[i], endpoints_num_filters, 1, tally.pixels[level])


def count_resnet_fpn(
    tally: Tally,
    spec: ResNetSpec,
    *,
    filter_size_scale: float,
    endpoints_num_filters: int,
    stem_filters: int | None,
) -> None:
    """Count a ResNet and its feature pyramid; the arguments are those of `backbone_cost`."""
    stem, filters = resnet_widths(filter_size_scale=filter_size_scale, stem_filters=stem_filters)
    _count_resnet(tally, spec, stem, filters)
    _count_pyramid(tally, filters, endpoints_num_filters)


def _count_resnet(tally: Tally, spec: ResNetSpec, stem: int, filters_of: dict[int, int]) -> None:
    """Count a ResNet up to its feature of level 5."""
    tally.conv_norm(3, stem, 7, tally.pixels[1])
    tally.max_pool(stem, 3, tally.pixels[2])
    in_channels, in_pixels = stem, tally.pixels[2]
    for (level, filters), num_blocks in zip(filters_of.items(), spec.num_blocks, strict=True):
        pixels = tally.pixels[level]
        stride = 1 if level == RESNET_LEVELS[0] else 2
        _count_block(tally, "bottleneck", in_channels, filters, in_pixels, pixels, stride)
        _count_chain(tally, "bottleneck", filters, pixels, num_blocks - 1)
        in_channels, in_pixels = block_out_channels("bottleneck", filters), pixels


def _count_pyramid(tally: Tally, filters_of: dict[int, int], num_filters: int) -> None:
    """Count a feature pyramid on a ResNet, levels 3..7."""
    for level in LATERAL_LEVELS:
        in_channels = block_out_channels("bottleneck", filters_of[level])
        tally.conv(in_channels, num_filters, 1, tally.pixels[level], bias=True)
    for level in LATERAL_LEVELS[:-1]:
        tally.elementwise(num_filters, tally.pixels[level])  # plus the level above, upsampled
    for level in OUTPUT_LEVELS:
        tally.conv(num_filters, num_filters, 3, tally.pixels[level], bias=True)
        tally.norm(num_filters)


def count_classification_head(tally: Tally, *, in_channels: int, num_classes: int) -> None:
    """Count the head that averages the five features and has one linear layer."""
    for level in OUTPUT_LEVELS[:-1]:
        tally.elementwise(in_channels, tally.pixels[level])  # plus the level above, upsampled
    # Divided by the number of levels, and the means.
    tally.elementwise(in_channels, tally.pixels[OUTPUT_LEVELS[0]], num_operations=2)
    tally.conv(in_channels, num_classes, 1, 1, bias=True)


def count_head(
    tally: Tally,
    *,
    in_channels: int,
    num_outputs: tuple[int, ...],
    num_convs: int,
    num_filters: int,
    is_separable: bool,
) -> None:
    """Count a RetinaNet head.

    Args:
        tally: counts.
        in_channels: of the features of levels 3..7.
        num_outputs: channels of each subnet's prediction.
        num_convs: convolutions of each subnet before it.
        num_filters: their channels.
        is_separable: whether all convolutions are depthwise separable.
    """
    conv = tally.separable if is_separable else tally.conv
    pixels = sum(tally.pixels[level] for level in OUTPUT_LEVELS)
    for num_out in num_outputs:
        widths = [in_channels] + [num_filters] * num_convs
        for before, after in pairwise(widths):
            conv(before, after, 3, pixels, bias=True)  # one for all levels
            tally.norm(after * len(OUTPUT_LEVELS))  # one for each
            tally.activation(after, pixels)
        conv(widths[-1], num_out, 3, pixels, bias=True)


def _count_stem(
    tally: Tally, spec: ArchSpec, widths: Widths, plan: SizePlan, repeats: int, counted: Set[int]
) -> None:
    if spec.is_mbconv:
        tally.conv_norm(3, widths.stem_conv, 3, tally.pixels[1])
    else:
        tally.conv_norm(3, widths.stem_conv, 7, tally.pixels[1])
        tally.max_pool(widths.stem_conv, 3, tally.pixels[2])
    in_channels = widths.stem_conv
    for i, (block, stride) in enumerate(zip(spec.stem, stem_strides(spec), strict=True)):
        if i not in counted:
            continue
        is_live = i in plan.live
        pixels, in_level = tally.pixels[block.level] * is_live, block.level - (stride == 2)
        filters, in_pixels = widths.filters[i], tally.pixels[in_level] * is_live
        _count_block(tally, block.block_type, in_channels, filters, in_pixels, pixels, stride)
        _count_chain(tally, block.block_type, filters, pixels, repeats - 1)
        in_channels = widths.channels[i]


def _count_permuted(
    tally: Tally,
    spec: ArchSpec,
    widths: Widths,
    plan: SizePlan,
    repeats: int,
    counted: Set[int],
    *,
    is_sum: bool,
) -> None:
    blocks = spec.all_blocks
    for i, block in enumerate(spec.blocks, start=len(spec.stem)):
        if i in counted:
            joined = _Joined(
                level=block.level,
                block_type=block.block_type,
                filters=widths.filters[i],
                parents=tuple(
                    (blocks[j].level, widths.channels[j], None if spec.is_mbconv else widths.resample[j])
                    for j in block.parents
                    if is_sum
                ),
                num_unresampled=len(plan.unresampled[i]),
                is_live=i in plan.live,
                repeats=repeats,
            )
            tally.add(_joined_totals(joined, tally.image_size, tally.activation_flops))


class _Joined(NamedTuple):
    """A block and what feeds it: level, channels and middle of the resampling (none of MBConv) per parent.

    Under a fusion other than the sum no parent is resampled, and the block's own part is left.
    """

    level: int
    block_type: str
    filters: int
    parents: tuple[tuple[int, int, int | None], ...]
    num_unresampled: int
    is_live: bool
    repeats: int


@lru_cache(maxsize=8192)  # the networks of a search share nearly all of them
def _joined_totals(
    joined: _Joined, image_size: tuple[int, int], activation_flops: int
) -> tuple[int, int, int]:
    """What a tally of this block alone counts."""
    tally = Tally(image_size, activation_flops)
    level, block_type, filters, parents, num_unresampled, is_live, repeats = joined
    channels = block_out_channels(block_type, filters)
    pixels = tally.pixels if is_live else [0] * len(tally.pixels)  # by level
    for from_level, in_channels, middle in parents:
        if middle is None:
            for step in range(from_level + 1, level + 1):
                tally.conv_norm(1, in_channels, 3, pixels[step])
        else:
            _count_squeeze(tally, in_channels, middle, from_level, level, pixels)
        tally.conv_norm(middle or in_channels, channels, 1, pixels[level], activate=False)
    tally.elementwise(channels, pixels[level], num_operations=max(len(parents) - 1, 0) + num_unresampled)
    tally.activation(channels, pixels[level])
    # The features are summed at the block's own width, so its first repeat has no projection either.
    _count_chain(tally, block_type, filters, pixels[level], repeats)
    return tally.totals


def _count_squeeze(
    tally: Tally, in_channels: int, middle: int, level: int, target: int, pixels: list[int]
) -> None:
    """Count a resampling before its last convolution; `pixels` are by level."""
    tally.conv_norm(in_channels, middle, 1, pixels[level])
    if target > level:
        tally.conv_norm(middle, middle, 3, pixels[level + 1])
    if target > level + 1:  # one pool takes the rest of the way
        tally.max_pool(middle, 3 if target == level + 2 else 5, pixels[target])


def _count_chain(tally: Tally, block_type: str, filters: int, pixels: int, num_blocks: int) -> None:
    """Count blocks that take in the width they put out."""
    channels = block_out_channels(block_type, filters)
    for _ in range(num_blocks):
        _count_block(tally, block_type, channels, filters, pixels, pixels, 1)


def _count_block(
    tally: Tally, block_type: str, in_channels: int, filters: int, in_pixels: int, pixels: int, stride: int
) -> None:
    """Count a block that takes in so many channels and pixels and puts out so many pixels."""
    out_channels = block_out_channels(block_type, filters)
    keeps_shape = in_channels == out_channels and stride == 1
    if block_type == "mbconv":
        inner, squeezed = MBCONV_EXPANSION * in_channels, se_filters(in_channels)
        one_pixel = min(pixels, 1)  # the gates are computed from the means
        tally.conv_norm(in_channels, inner, 1, in_pixels)
        tally.conv_norm(1, inner, 3, pixels)
        tally.elementwise(inner, pixels, num_operations=2)  # the means, and the product with the gates
        tally.conv(inner, squeezed, 1, one_pixel, bias=True)
        tally.activation(squeezed, one_pixel)
        tally.conv(squeezed, inner, 1, one_pixel, bias=True)
        tally.conv_norm(inner, out_channels, 1, pixels, activate=False)
        tally.elementwise(out_channels, pixels, num_operations=int(keeps_shape))
        return
    if not keeps_shape:
        tally.conv_norm(in_channels, out_channels, 1, pixels, activate=False)
    if block_type == "residual":
        tally.conv_norm(in_channels, filters, 3, pixels)
        tally.conv_norm(filters, filters, 3, pixels, activate=False)
    else:
        tally.conv_norm(in_channels, filters, 1, in_pixels)
        tally.conv_norm(filters, filters, 3, pixels)
        tally.conv_norm(filters, out_channels, 1, pixels, activate=False)
    tally.elementwise(out_channels, pixels)
    tally.activation(out_channels, pixels)
