"""What a Mask R-CNN costs, from its backbone's spec alone."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from spinesearch.space.arch.resnet import ResNetSpec
from spinesearch.space.arch.spec import OUTPUT_LEVELS, ArchSpec
from spinesearch.space.cost.cost import Cost, backbone_cost, check_at_least
from spinesearch.space.cost.tally import Tally

BOX_SIDE, MASK_SIDE = 7, 14  # of the crops that the two heads take in, in cells
NUM_REGIONS, NUM_MASKS = 1000, 100  # of an image in testing, as released: proposals, detections with masks
# Non-maximum suppression, class by class on tiles of 512 boxes, has element-wise work that the paper's
# figures count and those of the later code do not: 216.1 against 215.7, 315.0 against 314.6, 498.8 against
# 498.4. With it SpineNet-49S's 60.2 comes out too, which both print.
SUPPRESSION_MULTIPLY_ADDS = 400_000_000


def mask_rcnn_cost(
    spec: ArchSpec | ResNetSpec,
    input_size: int | tuple[int, int],
    *,
    num_classes: int,
    num_anchors: int = 3,
    head_num_convs: int = 4,
    head_num_filters: int = 256,
    head_num_hidden: int | None = None,
    endpoints_num_filters: int = 256,
    **backbone: Any,
) -> Cost:
    """Cost of a Mask R-CNN for one image, with `NUM_REGIONS` regions and `NUM_MASKS` masks.

    Its `profiler_multiply_adds` are those of the released code; the paper counts suppression too,
    `SUPPRESSION_MULTIPLY_ADDS`. The activation is taken as ReLU.

    Args:
        spec: the backbone's architecture.
        input_size: side of a square image in pixels, or (height, width); at least 32.
        num_classes: classes of objects, the background not among them: 90 in the published figures.
        num_anchors: anchors per pixel; 1 scale x 3 ratios in the released code.
        head_num_convs: convolutions of the box head and of the mask head.
        head_num_filters: their channels, and those of the region proposal network.
        head_num_hidden: width of the fully connected layer; None for four times `head_num_filters`.
        endpoints_num_filters: channels of every output feature.
        **backbone: the other arguments of `backbone_cost`.

    Raises:
        SpecError: an argument is out of range, or a width comes out as zero.
    """
    num_hidden = 4 * head_num_filters if head_num_hidden is None else head_num_hidden
    check_at_least(
        1,
        num_classes=num_classes,
        num_anchors=num_anchors,
        head_num_convs=head_num_convs,
        head_num_filters=head_num_filters,
        head_num_hidden=num_hidden,
    )
    below = backbone_cost(spec, input_size, endpoints_num_filters=endpoints_num_filters, **backbone)
    tally, filters = Tally(input_size, activation_flops=0), head_num_filters
    widths = [endpoints_num_filters] + [filters] * head_num_convs
    _count_proposals(tally, endpoints_num_filters, filters, num_anchors)
    _count_convs(tally, widths, BOX_SIDE, NUM_REGIONS)
    tally.conv(BOX_SIDE**2 * filters, num_hidden, 1, NUM_REGIONS, bias=True)
    tally.norm(num_hidden)
    for num_out in (num_classes + 1, 4 * (num_classes + 1)):
        tally.conv(num_hidden, num_out, 1, NUM_REGIONS, bias=True)
    _count_convs(tally, widths, MASK_SIDE, NUM_MASKS)
    # Each pixel that goes into the transposed convolution makes 2 x 2, whose biases are one by one.
    tally.conv(filters, filters, 2, NUM_MASKS * MASK_SIDE**2)
    tally.bias(filters, NUM_MASKS * 4 * MASK_SIDE**2)
    tally.norm(filters)
    tally.conv(filters, num_classes + 1, 1, NUM_MASKS * 4 * MASK_SIDE**2, bias=True)
    return Cost(*(a + b for a, b in zip(below, tally.cost, strict=True)))


def _count_proposals(tally: Tally, in_channels: int, filters: int, num_anchors: int) -> None:
    pixels = sum(tally.pixels[level] for level in OUTPUT_LEVELS)
    tally.conv(in_channels, filters, 3, pixels, bias=True)
    tally.norm(filters * len(OUTPUT_LEVELS))
    tally.conv(filters, num_anchors, 1, pixels, bias=True)
    tally.conv(filters, 4 * num_anchors, 1, pixels, bias=True)


def _count_convs(tally: Tally, widths: list[int], side: int, num_regions: int) -> None:
    """Count a crop of so many cells a side of each region, and the convolutions on it."""
    cells = num_regions * side**2
    tally.elementwise(widths[0], 4 * cells)  # the four points around each cell's centre, weighted
    tally.max_pool(widths[0], 2, cells)  # and summed, to the profiler a pool
    for before, after in pairwise(widths):
        tally.conv(before, after, 3, cells, bias=True)
        tally.norm(after)
