"""What a network costs, from its spec alone: parameters and multiply-adds, in under a millisecond.

Counted is the plain published form of the network, in which every layer runs where the paper puts it.
Parameters are all that is trained: weights, biases, gammas and betas, also of blocks that never run.
Multiply-adds are those of the convolutions and linear layers for one image; blocks that no output depends on
do not run and cost none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from spinesearch.space.arch.resnet import ResNetSpec
from spinesearch.space.arch.spec import ArchSpec, SpecError
from spinesearch.space.cost.count import (
    count_classification_head,
    count_head,
    count_resnet_fpn,
    count_scale_permuted,
)
from spinesearch.space.cost.tally import SWISH_FLOPS, Tally

_ENDPOINTS = 256  # channels of every output feature, unless other ones are given


class Cost(NamedTuple):
    """What a network costs.

    Attributes:
        parameters: numbers that are trained.
        multiply_adds: of the convolutions and linear layers, for one image.
        profiler_multiply_adds: the metric that the authors publish, for comparison with their tables: half of
            the floating-point operations that TensorFlow's profiler finds in their graph. Besides the
            convolutions these are biases, sums, pools, squeeze-and-excitation, swish (in MBConv networks; the
            others are taken with ReLU, which is free) and the drawing of initial weights, but no batch
            normalisation. Meant for sides that are multiples of 128.
    """

    parameters: int
    multiply_adds: int
    profiler_multiply_adds: int


def backbone_cost(
    spec: ArchSpec | ResNetSpec,
    input_size: int | tuple[int, int],
    *,
    filter_size_scale: float = 1.0,
    resample_alpha: float = 0.5,
    endpoints_num_filters: int = _ENDPOINTS,
    block_repeats: int = 1,
    stem_filters: int | None = None,
    fusion: str = "sum",
    live_only: bool = False,
) -> Cost:
    """Cost of a backbone up to its features of levels 3..7.

    Args:
        spec: the architecture.
        input_size: side of a square image in pixels, or (height, width); at least 32.
        filter_size_scale: factor on every block's filters, rounded down.
        resample_alpha: middle of a resampling as a fraction of the parent's filters, rounded down; MBConv
            networks and ResNets have no such middle.
        endpoints_num_filters: channels of every output feature.
        block_repeats: how many blocks are chained for each block of the spec; must be 1 for a ResNet.
        stem_filters: of the first convolution; None for what the released code has, 64 however narrow the
            rest, and 8 scaled in MBConv networks.
        fusion: one of `spinesearch.space.cost.fusion.FUSIONS`; a ResNet has none, and gives ``sum``.
        live_only: leave out the parameters of blocks that never run, so that networks of one `arch_id` cost
            the same.

    Raises:
        SpecError: an argument is out of range, or a width comes out as zero.
    """
    if not isinstance(spec, ArchSpec | ResNetSpec):  # a name, most likely
        raise SpecError(f"spec: expected an ArchSpec or a ResNetSpec, got {spec!r}; try published(name).arch")
    check_at_least(1, endpoints_num_filters=endpoints_num_filters, block_repeats=block_repeats)
    tally = _tally(spec, input_size)
    if isinstance(spec, ResNetSpec):
        if block_repeats != 1:
            raise SpecError(f"block_repeats: the depth of {spec.name} is fixed, got {block_repeats}")
        if fusion != "sum":
            raise SpecError(f"fusion: {spec.name} has none to change, got {fusion}")
        count_resnet_fpn(
            tally,
            spec,
            filter_size_scale=filter_size_scale,
            endpoints_num_filters=endpoints_num_filters,
            stem_filters=stem_filters,
        )
    else:
        count_scale_permuted(
            tally,
            spec,
            filter_size_scale=filter_size_scale,
            resample_alpha=resample_alpha,
            endpoints_num_filters=endpoints_num_filters,
            block_repeats=block_repeats,
            stem_filters=stem_filters,
            live_only=live_only,
            fusion=fusion,
        )
    return Cost(*tally.cost)


def detector_cost(
    spec: ArchSpec | ResNetSpec,
    input_size: int | tuple[int, int],
    *,
    num_classes: int,
    num_anchors: int = 9,
    head_num_convs: int = 4,
    head_num_filters: int = 256,
    head_is_separable: bool | None = None,
    filter_size_scale: float = 1.0,
    resample_alpha: float = 0.5,
    endpoints_num_filters: int = _ENDPOINTS,
    block_repeats: int = 1,
    stem_filters: int | None = None,
    fusion: str = "sum",
) -> Cost:
    """Cost of a backbone and a RetinaNet head on it.

    Args:
        spec: the backbone's architecture.
        input_size: side of a square image in pixels, or (height, width); at least 32.
        num_classes: classes predicted for each anchor.
        num_anchors: anchors per pixel; 3 scales x 3 ratios in the paper.
        head_num_convs: convolutions of each of the two subnets before its prediction.
        head_num_filters: their channels.
        head_is_separable: whether all convolutions of the head are depthwise separable; by default those on
            MBConv backbones are.
        filter_size_scale: this and the arguments below are `backbone_cost`'s.
        resample_alpha: see there.
        endpoints_num_filters: see there.
        block_repeats: see there.
        stem_filters: see there.
        fusion: see there.

    Raises:
        SpecError: an argument is out of range, or a width comes out as zero.
    """
    check_at_least(1, num_classes=num_classes, num_anchors=num_anchors, head_num_filters=head_num_filters)
    check_at_least(0, head_num_convs=head_num_convs)
    backbone = backbone_cost(
        spec,
        input_size,
        filter_size_scale=filter_size_scale,
        resample_alpha=resample_alpha,
        endpoints_num_filters=endpoints_num_filters,
        block_repeats=block_repeats,
        stem_filters=stem_filters,
        fusion=fusion,
    )
    tally = _tally(spec, input_size)
    count_head(
        tally,
        in_channels=endpoints_num_filters,
        num_outputs=(num_classes * num_anchors, 4 * num_anchors),
        num_convs=head_num_convs,
        num_filters=head_num_filters,
        is_separable=_is_mbconv(spec) if head_is_separable is None else head_is_separable,
    )
    return Cost(*(ours + heads for ours, heads in zip(backbone, tally.cost, strict=True)))


def classifier_cost(
    spec: ArchSpec | ResNetSpec, input_size: int | tuple[int, int], *, num_classes: int, **backbone: Any
) -> Cost:
    """Cost of a backbone and the classification head on it, whose linear layer's products count too.

    Args:
        spec: the backbone's architecture.
        input_size: side of a square image in pixels, or (height, width); at least 32.
        num_classes: of the linear layer.
        **backbone: the other arguments of `backbone_cost`.

    Raises:
        SpecError: an argument is out of range, or a width comes out as zero.
    """
    check_at_least(1, num_classes=num_classes)
    cost = backbone_cost(spec, input_size, **backbone)
    tally = _tally(spec, input_size)
    in_channels = backbone.get("endpoints_num_filters", _ENDPOINTS)
    count_classification_head(tally, in_channels=in_channels, num_classes=num_classes)
    return Cost(*(ours + heads for ours, heads in zip(cost, tally.cost, strict=True)))


def _tally(spec: ArchSpec | ResNetSpec, input_size: int | tuple[int, int]) -> Tally:
    return Tally(input_size, activation_flops=SWISH_FLOPS if _is_mbconv(spec) else 0)


def _is_mbconv(spec: ArchSpec | ResNetSpec) -> bool:
    return isinstance(spec, ArchSpec) and spec.is_mbconv


def check_at_least(minimum: int, **arguments: int) -> None:
    """Raises `SpecError` for an argument that is no whole number of at least the minimum."""
    for name, value in arguments.items():
        if type(value) is not int or value < minimum:
            raise SpecError(f"{name}: must be a whole number of at least {minimum}, got {value!r}")
