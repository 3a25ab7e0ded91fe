"""The rules that the fields of a `SpineNetSpace` keep, so that every candidate of it can be built."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from spinesearch.space.arch.spec import (
    BLOCK_TYPES,
    MAX_LEVEL,
    MIN_LEVEL,
    NUM_PARENTS,
    OUTPUT_LEVELS,
    ArchSpec,
    BlockSpec,
    SpecError,
)
from spinesearch.space.cost.plan import stem_strides

# Five times the paper's. `SpineNetSpace.encode` recurses once per block, and sizes stay printable.
MAX_INTERMEDIATE = 50


def check_space(
    *,
    base_levels: Mapping[int, int],
    window: int | None,
    level_offsets: tuple[int, ...],
    block_types: tuple[str, ...],
    stem: tuple[BlockSpec, ...],
    fixed_order: tuple[int, ...] | None,
) -> None:
    """Refuse a space that is empty or meaningless; the arguments are the fields of `SpineNetSpace`.

    Raises:
        SpecError: one line that begins with ``space.<field>`` and gives the value and the rule.
    """
    _check_block_types(block_types)
    _check_stem(stem, block_types)
    _check_base_levels(base_levels, level_offsets)
    if window is not None:
        if not _is_int(window):
            raise SpecError(f"space.window: must be an integer or null, got {window!r}")
        if window < NUM_PARENTS:
            raise SpecError(f"space.window: must be at least {NUM_PARENTS} or null, got {window}")
    if fixed_order is not None:
        _check_fixed_order(fixed_order, base_levels)


def _check_block_types(types: tuple[str, ...]) -> None:
    if not types or any(t not in BLOCK_TYPES for t in types) or len(set(types)) != len(types):
        raise SpecError(
            f"space.block_types: needs one or more different ones of {_listed(BLOCK_TYPES)}, "
            f"got {_listed(types)}"
        )
    if "mbconv" in types and len(types) > 1:
        raise SpecError(f"space.block_types: mbconv does not mix with other types, got {_listed(types)}")


def _check_stem(stem: tuple[BlockSpec, ...], types: tuple[str, ...]) -> None:
    if len(stem) < NUM_PARENTS:
        raise SpecError(
            f"space.stem: needs at least {NUM_PARENTS} blocks, the parents of the first block after it, "
            f"got {len(stem)}"
        )
    if any((block.block_type == "mbconv") != ("mbconv" in types) for block in stem):
        raise SpecError(
            "space.block_types: mbconv blocks go with a stem of mbconv blocks, other types with a stem of "
            f"other types, got {_listed(types)} after a stem of {_listed(b.block_type for b in stem)}"
        )
    outputs = (
        BlockSpec(level=level, block_type=types[0], parents=(0, 1), is_output=True) for level in OUTPUT_LEVELS
    )
    try:
        stem_strides(ArchSpec(blocks=tuple(outputs), stem=stem))
    except SpecError as error:
        raise SpecError(f"space.stem: {error}") from error


def _check_base_levels(base_levels: Mapping[int, int], offsets: tuple[int, ...]) -> None:
    if not offsets or not all(map(_is_int, offsets)) or len(set(offsets)) != len(offsets):
        raise SpecError(
            f"space.level_offsets: needs one or more integers that all differ, got {_listed(offsets)}"
        )
    for level, count in base_levels.items():
        if not _is_int(count):
            raise SpecError(
                f"space.base_levels: the count at level {level} must be an integer, got {count!r}"
            )
        if count < 0:
            raise SpecError(
                f"space.base_levels: the count at level {level} must not be negative, got {count}"
            )
        if count and not any(MIN_LEVEL <= level + offset <= MAX_LEVEL for offset in offsets):
            raise SpecError(
                f"space.level_offsets: one must keep level {level} in {MIN_LEVEL}..{MAX_LEVEL}, "
                f"got {_listed(offsets)}"
            )
    if not 1 <= sum(base_levels.values()) <= MAX_INTERMEDIATE:
        raise SpecError(
            f"space.base_levels: must name 1 to {MAX_INTERMEDIATE} intermediate blocks in all, "
            f"got {_allocation(base_levels)}"
        )


def _check_fixed_order(order: tuple[int, ...], all_levels: Mapping[int, int]) -> None:
    base_levels = {level: count for level, count in all_levels.items() if count}
    num_intermediate = sum(base_levels.values())
    num_blocks = num_intermediate + len(OUTPUT_LEVELS)
    if len(order) != num_blocks:
        raise SpecError(
            f"space.fixed_order: needs the levels of {num_intermediate} intermediate blocks and of "
            f"{len(OUTPUT_LEVELS)} outputs after them, {num_blocks} in all, or null, got {len(order)}"
        )
    found = Counter(order[:num_intermediate])
    if found != base_levels:
        raise SpecError(
            f"space.fixed_order: its first {num_intermediate} levels must be those of base_levels, "
            f"{_allocation(base_levels)}, got {_allocation(found)}"
        )
    outputs = order[num_intermediate:]
    if sorted(outputs) != sorted(OUTPUT_LEVELS):
        raise SpecError(
            f"space.fixed_order: its last {len(OUTPUT_LEVELS)} levels must be each output level once, "
            f"{_listed(f'L{level}' for level in OUTPUT_LEVELS)}, "
            f"got {_listed(f'L{level}' for level in outputs)}"
        )


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _listed(values: Iterable[object]) -> str:
    return f"[{', '.join(map(str, values))}]"


def _allocation(base_levels: dict[int, int] | Any) -> str:
    counts = ", ".join(f"L{level}: {count}" for level, count in sorted(base_levels.items()))
    return f"{{{counts}}}"
