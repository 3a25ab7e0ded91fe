"""The order of the blocks in a candidate: searched (`PermutedOrder`) or given (`FixedOrder`).

An order is the base level of every intermediate block by position, and then the level of every output. Blocks
of one base level are interchangeable, so a searched order is a permutation of levels, not of labelled blocks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Protocol

from spinesearch.space.arch.spec import OUTPUT_LEVELS, SpecError

if TYPE_CHECKING:
    import numpy as np


class BlockOrder(Protocol):
    """What decides the order: the first decisions of a space, or none."""

    @property
    def num_choices(self) -> tuple[int, ...]:
        """Number of choices of each of its decisions, before masking: one per block, or none."""

    def choice_weights(self, prefix: Sequence[int]) -> tuple[int, ...]:
        """Number of orders that begin with ``prefix``, a part of an order, and then each choice."""

    def allows(self, tokens: Sequence[int]) -> bool:
        """Whether these are an order's choices."""

    def decode(self, tokens: Sequence[int]) -> list[int]:
        """The order that a choice sequence, or its beginning, stands for."""

    def encode(
        self, levels: Sequence[int], level_offsets: Collection[int]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The choices behind the levels of a spec, and the base levels of its intermediate blocks.

        Raises:
            SpecError: no order and offsets give these levels.
        """

    def sample(self, rng: np.random.Generator) -> tuple[int, ...]:
        """Choices drawn uniformly from all allowed ones."""


@dataclass(frozen=True, kw_only=True)
class FixedOrder:
    """One order for every candidate; decides nothing.

    Attributes:
        order: base levels of the intermediate blocks, then levels of the outputs.
        first_id: id of the first of them, for messages.
    """

    order: tuple[int, ...]
    first_id: int
    num_choices: tuple[int, ...] = field(default=(), init=False)

    def choice_weights(self, prefix: Sequence[int]) -> tuple[int, ...]:
        """Never called."""
        raise AssertionError("a fixed order has no decisions")

    def allows(self, tokens: Sequence[int]) -> bool:
        """Whether there are none."""
        return not tokens

    def decode(self, tokens: Sequence[int]) -> list[int]:
        """The order."""
        return list(self.order)

    def encode(
        self, levels: Sequence[int], level_offsets: Collection[int]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """No choices, and the base levels, if the levels fit."""
        num_intermediate = len(self.order) - len(OUTPUT_LEVELS)
        for k, (level, base) in enumerate(zip(levels, self.order, strict=True)):
            if level - base not in (level_offsets if k < num_intermediate else (0,)):
                raise SpecError(
                    f"block {self.first_id + k} is at level {level}, in the fixed order at {base}"
                )
        return (), self.order[:num_intermediate]

    def sample(self, rng: np.random.Generator) -> tuple[int, ...]:
        """No choices."""
        return ()


@dataclass(frozen=True, kw_only=True)
class PermutedOrder:
    """Every order of the intermediate blocks, then every order of the outputs.

    Attributes:
        base_levels: number of intermediate blocks at each base level.
    """

    base_levels: Mapping[int, int]

    @cached_property
    def _bases(self) -> tuple[int, ...]:
        """The base levels that blocks have, rising: choice c of a base level is the c-th."""
        return tuple(sorted(level for level, count in self.base_levels.items() if count))

    @cached_property
    def _base_choices(self) -> list[int]:
        """The choice of base level of every intermediate block, rising."""
        return [c for c, level in enumerate(self._bases) for _ in range(self.base_levels[level])]

    @cached_property
    def _num_intermediate(self) -> int:
        return sum(self.base_levels.values())

    @cached_property
    def num_choices(self) -> tuple[int, ...]:
        """As many choices as there are base levels, then as there are outputs."""
        return (len(self._bases),) * self._num_intermediate + (len(OUTPUT_LEVELS),) * len(OUTPUT_LEVELS)

    def choice_weights(self, prefix: Sequence[int]) -> tuple[int, ...]:
        """Multinomials of the base levels left to place, then permutations of the outputs left."""
        if len(prefix) < self._num_intermediate:
            used = Counter(prefix)
            left = tuple(self.base_levels[level] - used[c] for c, level in enumerate(self._bases))
            outputs = math.factorial(len(OUTPUT_LEVELS))
            return tuple(outputs * orders for orders in _orders_by_first(left))
        taken = set(prefix[self._num_intermediate :])
        num_orders = math.factorial(len(OUTPUT_LEVELS) - len(taken) - 1)
        return tuple(0 if c in taken else num_orders for c in range(len(OUTPUT_LEVELS)))

    def allows(self, tokens: Sequence[int]) -> bool:
        """Whether every block is placed as often as there are such blocks."""
        n = self._num_intermediate
        return sorted(tokens[:n]) == self._base_choices and sorted(tokens[n:]) == [*range(len(OUTPUT_LEVELS))]

    def decode(self, tokens: Sequence[int]) -> list[int]:
        """The order that a choice sequence stands for."""
        n = self._num_intermediate
        outputs = tokens[n : n + len(OUTPUT_LEVELS)]
        return [self._bases[c] for c in tokens[:n]] + [OUTPUT_LEVELS[c] for c in outputs]

    def encode(
        self, levels: Sequence[int], level_offsets: Collection[int]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The choices with the smallest sum of absolute offsets, lower base levels first."""

        @cache
        def best(position: int, left: tuple[int, ...]) -> tuple[int, tuple[int, ...]] | None:
            if position == self._num_intermediate:
                return 0, ()
            found: tuple[int, tuple[int, ...]] | None = None
            for c, base in enumerate(self._bases):
                offset = levels[position] - base
                if left[c] and offset in level_offsets:
                    rest = best(position + 1, (*left[:c], left[c] - 1, *left[c + 1 :]))
                    if rest is not None and (found is None or rest[0] + abs(offset) < found[0]):
                        found = rest[0] + abs(offset), (c, *rest[1])
            return found

        assigned = best(0, tuple(self.base_levels[base] for base in self._bases))
        if assigned is None:
            raise SpecError(
                f"the levels of its intermediate blocks, {sorted(levels[: self._num_intermediate])} in "
                "rising order, come of no choice of base levels "
                f"{[self._bases[c] for c in self._base_choices]} and offsets {sorted(level_offsets)}"
            )
        outputs = (OUTPUT_LEVELS.index(level) for level in levels[self._num_intermediate :])
        return (*assigned[1], *outputs), tuple(self._bases[c] for c in assigned[1])

    def sample(self, rng: np.random.Generator) -> tuple[int, ...]:
        """A shuffle of the intermediate blocks, then one of the outputs."""
        return (*_shuffled(self._base_choices, rng), *_shuffled(range(len(OUTPUT_LEVELS)), rng))


@cache
def _orders_by_first(counts: tuple[int, ...]) -> tuple[int, ...]:
    """Number of orders of so many items of each kind, by the kind that comes first."""
    total = sum(counts)
    num_orders = math.factorial(total) // math.prod(map(math.factorial, counts))
    return tuple(num_orders * count // total for count in counts)


def _shuffled(items: Iterable[int], rng: np.random.Generator) -> list[int]:
    """Fisher-Yates on bounded integers alone, whose stream numpy keeps stable."""
    items = list(items)
    for i in range(len(items) - 1, 0, -1):
        j = int(rng.integers(i + 1))
        items[i], items[j] = items[j], items[i]
    return items
