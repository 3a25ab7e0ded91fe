"""Which decisions of a `SpineNetSpace` decide what, and how much each choice leaves open."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from spinesearch.space.arch.spec import MAX_LEVEL, MIN_LEVEL, NUM_PARENTS, OUTPUT_LEVELS
from spinesearch.space.orders import BlockOrder


@dataclass(frozen=True, kw_only=True)
class ChoiceLayout:
    """The positions of a choice sequence: the order's, two parents per block, offsets, types.

    Blocks are counted from the first after the stem: k is 0 there.

    Attributes:
        order: what decides the order.
        base_levels: number of intermediate blocks at each base level.
        num_stem: number of blocks of the stem.
        window: as in `SpineNetSpace`.
        level_offsets: as in `SpineNetSpace`.
        num_types: number of types that a block may have.
    """

    order: BlockOrder
    base_levels: Mapping[int, int]
    num_stem: int
    window: int | None
    level_offsets: tuple[int, ...]
    num_types: int

    @cached_property
    def num_intermediate(self) -> int:
        """Number of intermediate blocks."""
        return sum(self.base_levels.values())

    @cached_property
    def num_blocks(self) -> int:
        """Number of blocks after the stem, outputs included."""
        return self.num_intermediate + len(OUTPUT_LEVELS)

    @cached_property
    def parents_start(self) -> int:
        """Position of the nearer parent of block 0."""
        return len(self.order.num_choices)

    @cached_property
    def offsets_start(self) -> int:
        """Position of the level offset of block 0."""
        return self.parents_start + NUM_PARENTS * self.num_blocks

    @cached_property
    def types_start(self) -> int:
        """Position of the type of block 0."""
        return self.offsets_start + (self.num_intermediate if len(self.level_offsets) > 1 else 0)

    @cached_property
    def end(self) -> int:
        """Number of decisions."""
        return self.types_start + (self.num_blocks if self.num_types > 1 else 0)

    @cached_property
    def reach(self) -> tuple[int, ...]:
        """How many blocks before it each block chooses its parents among."""
        built = range(self.num_stem, self.num_stem + self.num_blocks)
        window = self.window or built.stop
        return tuple(min(b, window) if k < self.num_intermediate else b for k, b in enumerate(built))

    @cached_property
    def offset_choices(self) -> dict[int, list[int]]:
        """The choices of offset that keep a block within the levels there are, by its base level."""
        return {
            base: [
                c for c, offset in enumerate(self.level_offsets) if MIN_LEVEL <= base + offset <= MAX_LEVEL
            ]
            for base in self.base_levels
        }

    @cached_property
    def _num_after_parents(self) -> tuple[int, ...]:
        """Number of ways to go on once the first k blocks have their parents, by k."""
        offsets = (len(self.offset_choices[base]) ** count for base, count in self.base_levels.items())
        numbers = [math.prod(offsets) * self.num_types**self.num_blocks]
        for reach in reversed(self.reach):
            numbers.append(numbers[-1] * math.comb(reach, NUM_PARENTS))
        return tuple(reversed(numbers))

    def allows(self, tokens: Sequence[int]) -> bool:
        """Whether a sequence of `end` choices is allowed: `choice_weights` for all decisions at once."""
        order, parents = tokens[: self.parents_start], tokens[self.parents_start : self.offsets_start]
        if not self.order.allows(order):
            return False
        pairs = zip(parents[::2], parents[1::2], self.reach, strict=True)
        offsets = zip(self.order.decode(order), tokens[self.offsets_start : self.types_start], strict=False)
        return (
            all(0 <= nearer < farther < reach for nearer, farther, reach in pairs)
            and all(c in self.offset_choices[base] for base, c in offsets)  # outputs have none
            and all(0 <= c < self.num_types for c in tokens[self.types_start :])
        )

    def choice_weights(self, prefix: Sequence[int]) -> tuple[int, ...]:
        """Number of complete sequences that begin with ``prefix``, which is allowed, and then each choice."""
        position = len(prefix)
        if position < self.parents_start:
            num_after = self._num_after_parents[0]
            return tuple(orders * num_after for orders in self.order.choice_weights(prefix))
        if position < self.offsets_start:
            k, is_farther = divmod(position - self.parents_start, NUM_PARENTS)
            reach, num_after = self.reach[k], self._num_after_parents[k + 1]
            if is_farther:
                nearer = int(prefix[-1])
                return (0,) * (nearer + 1) + (num_after,) * (reach - nearer - 1)
            return tuple(num_after * num_farther for num_farther in range(reach - 1, 0, -1))
        if position < self.types_start:
            base, *later = self.order.decode(prefix)[position - self.offsets_start : self.num_intermediate]
            num_after = math.prod(len(self.offset_choices[level]) for level in later)
            num_after *= self.num_types**self.num_blocks
            allowed = self.offset_choices[base]
            return tuple(num_after * (c in allowed) for c in range(len(self.level_offsets)))
        return (self.num_types ** (self.end - position - 1),) * self.num_types
