"""What the size of the images decides: every feature's size, and which blocks run at all.

A feature of level l measures ``ceil(side / 2**l)`` on each axis.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from spinesearch.space.arch.spec import ArchSpec, SpecError

MIN_IMAGE_SIDE = 32  # pixels; one pixel at level 5


class SizePlan(NamedTuple):
    """What the size of the images decides, by block id.

    Attributes:
        sizes: height and width of every block's feature.
        unresampled: ids of the features that each block adds as they are.
        live: ids of the blocks that some output depends on; no other block runs.
    """

    sizes: tuple[tuple[int, int], ...]
    unresampled: tuple[tuple[int, ...], ...]
    live: frozenset[int]


def plan_for_size(spec: ArchSpec, channels: tuple[int, ...], height: int, width: int) -> SizePlan:
    """Sizes, unresampled inputs and live blocks for images of this size.

    Small images give different levels equal sizes, and so more features that an output can add as they are:
    what lives depends on the size too.

    Args:
        spec: the architecture.
        channels: that every block puts out, by block id.
        height: of the images in pixels.
        width: of the images in pixels.
    """
    blocks, num_stem = spec.all_blocks, len(spec.stem)
    sizes = tuple((level_side(height, block.level), level_side(width, block.level)) for block in blocks)
    unresampled = spec.unresampled_inputs(lambda i: (*sizes[i], channels[i]))
    live = set(spec.output_ids.values())
    for i in reversed(range(1, len(blocks))):
        if i in live:
            live.update((*blocks[i].parents, *unresampled[i]) if i >= num_stem else (i - 1,))
    return SizePlan(sizes, unresampled, frozenset(live))


def level_side(side: int, level: int) -> int:
    """Side of a feature of this level, for an image of this side."""
    return -(-side >> level)


def stem_strides(spec: ArchSpec) -> tuple[int, ...]:
    """Stride of each block of the stem.

    A stem starts from level 2, where its convolution and pool end, or from level 1 with MBConv blocks, which
    follow a convolution of stride 2 alone.

    Raises:
        SpecError: the levels do not rise from there by steps of 0 or 1.
    """
    start = 1 if spec.is_mbconv else 2
    levels = [start, *(block.level for block in spec.stem)]
    for i, (before, level) in enumerate(pairwise(levels)):
        if level - before not in (0, 1):
            raise SpecError(
                f"stem block {i}: level must be {before} or {before + 1} (a stem starts from level {start} "
                f"and rises by at most 1 per block), got {level}"
            )
    return tuple(1 << (level - before) for before, level in pairwise(levels))


def image_size(input_size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width of an image, given both or one side of a square.

    Raises:
        SpecError: a side is no whole number of at least 32 pixels.
    """
    sides: tuple[int, ...] = input_size if isinstance(input_size, tuple) else (input_size, input_size)
    if len(sides) != 2 or any(type(side) is not int or side < MIN_IMAGE_SIDE for side in sides):
        raise SpecError(
            f"input_size: needs one side or (height, width) of at least {MIN_IMAGE_SIDE} whole pixels, "
            f"got {input_size}"
        )
    height, width = sides
    return height, width
