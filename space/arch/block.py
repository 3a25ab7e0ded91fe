"""One block of a backbone, `BlockSpec`, and what blocks can be: types, levels, stems.

A block at level ``l`` works at a resolution of 1 / 2**l of the input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BLOCK_TYPES = ("bottleneck", "residual", "mbconv")
MIN_LEVEL = 1
MAX_LEVEL = 7
OUTPUT_LEVELS = (3, 4, 5, 6, 7)  # RetinaNet's P3..P7
NUM_PARENTS = 2


class SpecError(ValueError):
    """A spec, a file that holds one, or a choice sequence breaks a rule; the message names field and rule."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockSpec:
    """One block of a backbone.

    Attributes:
        level: the block's resolution is 1 / 2**level of the input, `MIN_LEVEL`..`MAX_LEVEL`.
        block_type: one of `BLOCK_TYPES`; ``mbconv`` blocks do not mix with the others, because they are
            joined by another kind of resampling.
        parents: ids of the two earlier blocks it reads (of one in ablations), in the order they were given (a
            set in meaning; the order only names the weights). Empty for a stem block, which reads the block
            before it.
        is_output: whether an endpoint (P3..P7) is attached.
    """

    level: int
    block_type: str = "bottleneck"
    parents: tuple[int, ...] = ()
    is_output: bool = False


# SpineNet's stem after the 7x7 convolution and the pool: two chained L2 bottlenecks (section 3.2 of the
# paper).
SPINENET_STEM = (BlockSpec(level=2), BlockSpec(level=2))
# Mobile SpineNet's after the 3x3 convolution of stride 2 (released code).
MBCONV_STEM = (BlockSpec(level=1, block_type="mbconv"), BlockSpec(level=2, block_type="mbconv"))


def block_from_fields(where: str, level: Any, block_type: Any, parents: Any, is_output: Any) -> BlockSpec:
    """A block whose fields have the right types; their values are `ArchSpec`'s business."""
    if isinstance(level, bool) or not isinstance(level, int):
        raise SpecError(f"{where}: level must be an integer, got {level!r}")
    if not isinstance(block_type, str):
        raise SpecError(f"{where}: block_type must be one of {', '.join(BLOCK_TYPES)}, got {block_type!r}")
    if not isinstance(parents, list | tuple) or any(
        isinstance(p, bool) or not isinstance(p, int) for p in parents
    ):
        raise SpecError(f"{where}: parents must be a list of block ids, got {parents!r}")
    if not isinstance(is_output, bool):
        raise SpecError(f"{where}: is_output must be true or false, got {is_output!r}")
    return BlockSpec(level=level, block_type=block_type, parents=tuple(parents), is_output=is_output)
