"""The SpineNet paper's search space: scale permutations, connections, level offsets and block types.

A candidate is a sequence of choices ("tokens"), decided in this order (sections 3.2 and 5.1 of the paper):

1. the order of the intermediate blocks, as the base level of each position; then the level of each output
   position,
2. two parents per block, each as its distance back from the block: choice 0 is the block just before,
3. an offset to each intermediate block's base level,
4. a type per block.

Blocks of one base level are interchangeable, so an order is a permutation of levels, not of labelled blocks,
and the two parents are chosen nearer first. Every sequence the masks allow is therefore a different
combination of choices, and `size` counts them exactly. (Different combinations may still give one network:
level 3 offset by 1 is level 4. `ArchSpec.arch_id` tells.)
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING

from spinesearch.space.base import Decision
from spinesearch.space.spec import (
    BLOCK_TYPES,
    MAX_LEVEL,
    MIN_LEVEL,
    NUM_PARENTS,
    OUTPUT_LEVELS,
    SPINENET_STEM,
    ArchSpec,
    BlockSpec,
    SpecError,
)

if TYPE_CHECKING:
    import numpy as np

# Not stated in the paper; consistent with R0-SP53 less its five outputs.
_PAPER_BASE_LEVELS = ((2, 1), (3, 3), (4, 5), (5, 1))


@dataclass(frozen=True, kw_only=True)
class SpineNetSpace:
    """The space around a base allocation of intermediate blocks, and one output block at each of P3..P7.

    Attributes:
        base_levels: number of intermediate blocks at each base level.
        window: how many of the last built blocks an intermediate block chooses its parents among (an output
            block chooses among all before it); None for all.
        level_offsets: what may be added to the base level of an intermediate block.
        block_types: the types a block may have.
        stem: the blocks before the permuted ones.
        name: what `conf/space` calls it.

    Raises:
        SpecError: a value makes the space empty or meaningless; the message begins with ``space.<field>``.
    """

    base_levels: Mapping[int, int] = field(default_factory=lambda: dict(_PAPER_BASE_LEVELS))
    window: int | None = 5
    level_offsets: tuple[int, ...] = (-1, 0, 1, 2)
    block_types: tuple[str, ...] = ("bottleneck", "residual")
    stem: tuple[BlockSpec, ...] = SPINENET_STEM
    name: str = "spinenet"

    def __post_init__(self) -> None:
        for level, count in self.base_levels.items():
            if count < 0:
                raise SpecError(
                    f"space.base_levels: the count at level {level} must not be negative, got {count}"
                )
            if count and not self._offsets_at(level):
                raise SpecError(
                    f"space.level_offsets: one must keep level {level} in {MIN_LEVEL}..{MAX_LEVEL}, "
                    f"got {self.level_offsets}"
                )
        if len(set(self.level_offsets)) != len(self.level_offsets):
            raise SpecError(f"space.level_offsets: must all differ, got {self.level_offsets}")
        if self.window is not None and self.window < NUM_PARENTS:
            raise SpecError(f"space.window: must be at least {NUM_PARENTS} or null, got {self.window}")
        unknown = [t for t in self.block_types if t not in BLOCK_TYPES]
        if unknown or not self.block_types or len(set(self.block_types)) != len(self.block_types):
            raise SpecError(
                f"space.block_types: needs different ones of {BLOCK_TYPES}, got {self.block_types}"
            )

    # What there is to decide ----------

    @cached_property
    def num_intermediate(self) -> int:
        """Number of intermediate blocks."""
        return sum(self.base_levels.values())

    @cached_property
    def num_blocks(self) -> int:
        """Number of scale-permuted blocks, outputs included."""
        return self.num_intermediate + len(OUTPUT_LEVELS)

    @cached_property
    def levels(self) -> frozenset[int]:
        """Every level that a block of some spec of this space stands at, the stem's included."""
        intermediate = {
            base + offset
            for base, count in self.base_levels.items()
            if count
            for offset in self._offsets_at(base)
        }
        return frozenset(intermediate | set(OUTPUT_LEVELS) | {block.level for block in self.stem})

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """Every decision in order; types and offsets are left out where the space has only one."""
        ids = range(len(self.stem), len(self.stem) + self.num_blocks)
        intermediate_ids = ids[: self.num_intermediate]
        decisions = [Decision(f"block {i} base level", len(self._levels)) for i in intermediate_ids]
        decisions += [
            Decision(f"block {i} output level", len(OUTPUT_LEVELS)) for i in ids[self.num_intermediate :]
        ]
        for i in ids:
            # The nearer parent leaves room for a farther one.
            decisions += [Decision(f"block {i} nearer parent", self._reach(i) - 1)]
            decisions += [Decision(f"block {i} farther parent", self._reach(i))]
        if len(self.level_offsets) > 1:
            decisions += [
                Decision(f"block {i} level offset", len(self.level_offsets)) for i in intermediate_ids
            ]
        if len(self.block_types) > 1:
            decisions += [Decision(f"block {i} type", len(self.block_types)) for i in ids]
        return tuple(decisions)

    @cached_property
    def num_choices(self) -> tuple[int, ...]:
        """Number of choices of each decision, before masking."""
        return tuple(decision.num_choices for decision in self.decisions)

    @cached_property
    def size(self) -> int:
        """Exact number of choice sequences the masks allow.

        The paper counts the permutations of labelled blocks, which is ``prod(count!)`` over `base_levels`
        times more.
        """
        orders = math.factorial(self.num_intermediate)
        offsets = 1
        for level, count in self.base_levels.items():
            orders //= math.factorial(count)
            offsets *= len(self._offsets_at(level)) ** count
        orders *= math.factorial(len(OUTPUT_LEVELS))
        parents = math.prod(
            math.comb(self._reach(len(self.stem) + k), NUM_PARENTS) for k in range(self.num_blocks)
        )
        return int(orders * parents * offsets * len(self.block_types) ** self.num_blocks)

    def choice_mask(self, prefix: Sequence[int]) -> tuple[bool, ...]:
        """Which choices the decision after ``prefix`` has, given the allowed choices made so far.

        Returns:
            One flag per choice of decision ``len(prefix)``; at least one is True.
        """
        position = len(prefix)
        n, m = self.num_intermediate, len(OUTPUT_LEVELS)
        if position < n:
            used = Counter(prefix)
            return tuple(used[c] < self.base_levels[level] for c, level in enumerate(self._levels))
        if position < n + m:
            taken = prefix[n:position]
            return tuple(c not in taken for c in range(m))
        if position < self._offsets_start:
            farther = (position - n - m) % NUM_PARENTS == 1
            nearest = prefix[-1] + 1 if farther else 0
            return tuple(c >= nearest for c in range(self.num_choices[position]))
        if position < self._types_start:
            level = self._levels[prefix[position - self._offsets_start]]
            return tuple(MIN_LEVEL <= level + offset <= MAX_LEVEL for offset in self.level_offsets)
        return (True,) * self.num_choices[position]

    # Choices to spec and back ----------

    def decode(self, tokens: Sequence[int]) -> ArchSpec:
        """The spec that a complete choice sequence stands for.

        Raises:
            SpecError: a choice is not allowed, or the length is wrong; the message names the decision.
        """
        tokens = [operator.index(token) for token in tokens]
        if len(tokens) != len(self.decisions):
            raise SpecError(
                f"tokens: {self.name} has {len(self.decisions)} decisions, got {len(tokens)} choices"
            )
        for position, token in enumerate(tokens):
            mask = self.choice_mask(tokens[:position])
            if token not in range(len(mask)) or not mask[token]:
                allowed = [c for c, is_allowed in enumerate(mask) if is_allowed]
                name = self.decisions[position].name
                raise SpecError(f"tokens: decision {position} ({name}) allows {allowed}, got {token!r}")
        n, m = self.num_intermediate, len(OUTPUT_LEVELS)
        levels = [self._levels[c] for c in tokens[:n]]
        if len(self.level_offsets) > 1:
            chosen = tokens[self._offsets_start : self._offsets_start + n]
            levels = [level + self.level_offsets[c] for level, c in zip(levels, chosen, strict=True)]
        else:
            levels = [level + self.level_offsets[0] for level in levels]
        levels += [OUTPUT_LEVELS[c] for c in tokens[n : n + m]]
        types = [self.block_types[c] for c in tokens[self._types_start :]] or [
            self.block_types[0]
        ] * self.num_blocks
        blocks = []
        for k in range(self.num_blocks):
            start = n + m + NUM_PARENTS * k
            block_id = len(self.stem) + k
            parents = tuple(sorted(block_id - 1 - c for c in tokens[start : start + NUM_PARENTS]))
            blocks.append(BlockSpec(level=levels[k], block_type=types[k], parents=parents, is_output=k >= n))
        return ArchSpec(blocks=tuple(blocks), stem=self.stem)

    def encode(self, spec: ArchSpec) -> tuple[int, ...]:
        """A choice sequence that decodes to this spec (but for the order within a pair of parents).

        Where several do, base levels are assigned with the smallest offsets in sum, lower base levels first.

        Raises:
            SpecError: the spec is not in this space; the message says why.
        """
        where = f"spec {spec.name or spec.arch_id} is not in the space {self.name}"
        n = self.num_intermediate
        if spec.stem != self.stem:
            raise SpecError(f"{where}: its stem differs")
        if [b.is_output for b in spec.blocks] != [False] * n + [True] * len(OUTPUT_LEVELS):
            raise SpecError(
                f"{where}: it needs {n} intermediate blocks followed by {len(OUTPUT_LEVELS)} outputs"
            )
        bases = self._assign_base_levels(tuple(b.level for b in spec.blocks[:n]))
        if bases is None:
            raise SpecError(
                f"{where}: no assignment of base levels and offsets gives its intermediate levels"
            )
        parents = []
        for block_id, block in enumerate(spec.blocks, start=len(self.stem)):
            distances = sorted(block_id - 1 - parent for parent in block.parents)
            if distances[-1] >= self._reach(block_id):
                raise SpecError(
                    f"{where}: block {block_id} reaches {distances[-1] + 1} back, window {self.window}"
                )
            if block.block_type not in self.block_types:
                raise SpecError(f"{where}: block {block_id} is a {block.block_type}")
            parents += distances
        tokens = [self._levels.index(base) for base in bases]
        tokens += [OUTPUT_LEVELS.index(b.level) for b in spec.blocks[n:]]
        tokens += parents
        if len(self.level_offsets) > 1:
            offsets = [b.level - base for b, base in zip(spec.blocks, bases, strict=False)]
            tokens += [self.level_offsets.index(offset) for offset in offsets]
        if len(self.block_types) > 1:
            tokens += [self.block_types.index(b.block_type) for b in spec.blocks]
        return tuple(tokens)

    def sample(self, rng: np.random.Generator) -> tuple[int, ...]:
        """A choice sequence drawn uniformly from all that the masks allow."""
        tokens = [c for c, level in enumerate(self._levels) for _ in range(self.base_levels[level])]
        _shuffle(tokens, rng)
        outputs = list(range(len(OUTPUT_LEVELS)))
        _shuffle(outputs, rng)
        bases = [self._levels[c] for c in tokens]
        tokens += outputs
        for k in range(self.num_blocks):
            reach = self._reach(len(self.stem) + k)
            first = int(rng.integers(reach))
            second = int(rng.integers(reach - 1))
            second += second >= first
            tokens += sorted((first, second))
        if len(self.level_offsets) > 1:
            for base in bases:
                allowed = self._offsets_at(base)
                tokens.append(self.level_offsets.index(allowed[int(rng.integers(len(allowed)))]))
        if len(self.block_types) > 1:
            tokens += [int(rng.integers(len(self.block_types))) for _ in range(self.num_blocks)]
        return tuple(tokens)

    # Layout ----------

    @cached_property
    def _levels(self) -> tuple[int, ...]:
        return tuple(sorted(level for level, count in self.base_levels.items() if count))

    @cached_property
    def _offsets_start(self) -> int:
        return self.num_blocks * (1 + NUM_PARENTS)

    @cached_property
    def _types_start(self) -> int:
        return self._offsets_start + (self.num_intermediate if len(self.level_offsets) > 1 else 0)

    def _reach(self, block_id: int) -> int:
        """How many blocks before this one it chooses its parents among."""
        is_output = block_id >= len(self.stem) + self.num_intermediate
        return block_id if is_output or self.window is None else min(block_id, self.window)

    def _offsets_at(self, level: int) -> list[int]:
        return [offset for offset in self.level_offsets if MIN_LEVEL <= level + offset <= MAX_LEVEL]

    def _assign_base_levels(self, levels: tuple[int, ...]) -> tuple[int, ...] | None:
        """Base level per position with the smallest sum of absolute offsets; None if none fits."""

        @cache
        def best(position: int, left: tuple[int, ...]) -> tuple[int, tuple[int, ...]] | None:
            if position == len(levels):
                return 0, ()
            found: tuple[int, tuple[int, ...]] | None = None
            for c, base in enumerate(self._levels):
                offset = levels[position] - base
                if left[c] and offset in self.level_offsets:
                    rest = best(position + 1, (*left[:c], left[c] - 1, *left[c + 1 :]))
                    if rest is not None and (found is None or rest[0] + abs(offset) < found[0]):
                        found = rest[0] + abs(offset), (base, *rest[1])
            return found

        result = best(0, tuple(self.base_levels[level] for level in self._levels))
        return result[1] if result else None


def _shuffle(items: list[int], rng: np.random.Generator) -> None:
    """Fisher-Yates on bounded integers alone, whose stream numpy keeps stable."""
    for i in range(len(items) - 1, 0, -1):
        j = int(rng.integers(i + 1))
        items[i], items[j] = items[j], items[i]
