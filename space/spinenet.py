"""The SpineNet paper's search space and its relatives: `SpineNetSpace`.

A candidate is a sequence of choices ("tokens"), decided in this order (sections 3.2 and 5.1 of the paper):

1. the order of the intermediate blocks, as the base level of each position; then the level of each output
   position (left out where the order is fixed),
2. two parents per block, each as its distance back from the block: choice 0 is the block just before,
3. an offset to each intermediate block's base level (left out where there is one offset only),
4. a type per block (left out where there is one type only).

An order is one of levels, not of labelled blocks, and the two parents are chosen nearer first. Every sequence
the masks allow is therefore a different combination of choices, and `size` counts them exactly. (Different
combinations may still give one network: level 3 offset by 1 is level 4. `ArchSpec.arch_id` shows it.)
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from spinesearch.space.arch.spec import (
    NUM_PARENTS,
    OUTPUT_LEVELS,
    SPINENET_STEM,
    ArchSpec,
    BlockSpec,
    SpecError,
)
from spinesearch.space.base import Decision
from spinesearch.space.features import features
from spinesearch.space.layout import ChoiceLayout
from spinesearch.space.neighbours import mutate
from spinesearch.space.orders import BlockOrder, FixedOrder, PermutedOrder
from spinesearch.space.space_rules import check_space

if TYPE_CHECKING:
    import numpy as np

# Not stated in the paper; consistent with R0-SP53 less its five outputs.
_PAPER_BASE_LEVELS = ((2, 1), (3, 3), (4, 5), (5, 1))


@dataclass(frozen=True, kw_only=True)
class SpineNetSpace:
    """The space around a base allocation of intermediate blocks, and one output block at each of P3..P7.

    Without arguments it is the paper's. MBConv blocks go with no other type, in the stem as after it.

    Attributes:
        base_levels: number of intermediate blocks at each base level.
        window: how many of the last built blocks an intermediate block chooses its parents among (an output
            block chooses among all before it); None for all.
        level_offsets: what may be added to the base level of an intermediate block.
        block_types: the types a block may have.
        stem: the blocks before the permuted ones.
        fixed_order: base levels of the intermediate blocks and then levels of the outputs, in the order in
            which they stand in every candidate; None to search the order.
        name: what `conf/space` calls it.

    Raises:
        SpecError: a value makes the space empty or meaningless; the message begins with ``space.<field>``.
    """

    base_levels: Mapping[int, int] = field(default_factory=lambda: dict(_PAPER_BASE_LEVELS))
    window: int | None = 5
    level_offsets: tuple[int, ...] = (-1, 0, 1, 2)
    block_types: tuple[str, ...] = ("bottleneck", "residual")
    stem: tuple[BlockSpec, ...] = SPINENET_STEM
    fixed_order: tuple[int, ...] | None = None
    name: str = "spinenet"

    def __post_init__(self) -> None:
        check_space(
            base_levels=self.base_levels,
            window=self.window,
            level_offsets=self.level_offsets,
            block_types=self.block_types,
            stem=self.stem,
            fixed_order=self.fixed_order,
        )

    # What there is to decide ----------

    @cached_property
    def num_intermediate(self) -> int:
        """Number of intermediate blocks."""
        return self._layout.num_intermediate

    @cached_property
    def num_blocks(self) -> int:
        """Number of blocks after the stem, outputs included."""
        return self._layout.num_blocks

    @cached_property
    def levels(self) -> frozenset[int]:
        """Every level that a block of some spec of this space stands at, the stem's included."""
        intermediate = {
            base + self.level_offsets[choice]
            for base, count in self.base_levels.items()
            if count
            for choice in self._layout.offset_choices[base]
        }
        return frozenset(intermediate | set(OUTPUT_LEVELS) | {block.level for block in self.stem})

    @property
    def is_mbconv(self) -> bool:
        """Whether its specs are made of MBConv blocks."""
        return self.stem[0].block_type == "mbconv"

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """Every decision in order; a fixed order, a single offset and a single type leave theirs out."""
        ids = range(len(self.stem), len(self.stem) + self.num_blocks)
        intermediate_ids = ids[: self.num_intermediate]
        decisions = [
            Decision(i, "base level" if i in intermediate_ids else "output level", num_choices)
            for i, num_choices in zip(ids, self._layout.order.num_choices, strict=False)  # or none
        ]
        for i, reach in zip(ids, self._layout.reach, strict=True):
            # The nearer parent leaves room for a farther one.
            decisions += [Decision(i, "nearer parent", reach - 1)]
            decisions += [Decision(i, "farther parent", reach)]
        if len(self.level_offsets) > 1:
            decisions += [Decision(i, "level offset", len(self.level_offsets)) for i in intermediate_ids]
        if len(self.block_types) > 1:
            decisions += [Decision(i, "type", len(self.block_types)) for i in ids]
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
        return sum(self.choice_weights(()))

    def choice_weights(self, prefix: Sequence[int]) -> tuple[int, ...]:
        """Number of complete sequences that begin with ``prefix`` and then each choice; exact.

        Choices drawn in proportion to them make every sequence equally likely.
        """
        return self._layout.choice_weights(prefix)

    def choice_mask(self, prefix: Sequence[int]) -> tuple[bool, ...]:
        """Which choices the decision after ``prefix`` has, given the allowed choices made so far.

        Returns:
            One flag per choice of decision ``len(prefix)``; at least one is True.
        """
        return tuple(weight > 0 for weight in self._layout.choice_weights(prefix))

    # Choices to spec and back ----------

    def decode(self, tokens: Sequence[int]) -> ArchSpec:
        """The spec that a complete choice sequence stands for.

        Raises:
            SpecError: a choice is not allowed, or the length is wrong; the message names the decision.
        """
        return self._decoded(tuple(map(operator.index, tokens)))

    @cached_property
    def _decoded(self) -> Callable[[tuple[int, ...]], ArchSpec]:
        """`_decode`, which a candidate goes through several times while it is proposed."""
        return lru_cache(maxsize=1024)(self._decode)

    def _decode(self, tokens: tuple[int, ...]) -> ArchSpec:
        if len(tokens) != len(self.decisions):
            raise SpecError(
                f"tokens: {self.name} has {len(self.decisions)} decisions, got {len(tokens)} choices"
            )
        n, layout = self.num_intermediate, self._layout
        if not layout.allows(tokens):
            raise self._refusal(tokens)
        offset_tokens = tokens[layout.offsets_start : layout.types_start] or (0,) * n
        type_tokens = tokens[layout.types_start :] or (0,) * self.num_blocks
        levels = layout.order.decode(tokens)
        for k, c in enumerate(offset_tokens):
            levels[k] += self.level_offsets[c]
        blocks = []
        for k, (level, c) in enumerate(zip(levels, type_tokens, strict=True)):
            start = layout.parents_start + NUM_PARENTS * k
            distances = tokens[start : start + NUM_PARENTS]
            parents = sorted(len(self.stem) + k - 1 - distance for distance in distances)
            blocks.append(
                BlockSpec(
                    level=level, block_type=self.block_types[c], parents=tuple(parents), is_output=k >= n
                )
            )
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
        try:
            order, bases = self._layout.order.encode(
                [block.level for block in spec.blocks], self.level_offsets
            )
        except SpecError as error:
            raise SpecError(f"{where}: {error}") from error
        parents = []
        for block_id, (block, reach) in enumerate(
            zip(spec.blocks, self._layout.reach, strict=True), start=len(self.stem)
        ):
            distances = sorted(block_id - 1 - parent for parent in block.parents)
            if len(distances) < NUM_PARENTS:
                raise SpecError(f"{where}: block {block_id} reads one block, where its candidates read two")
            if distances[-1] >= reach:
                raise SpecError(
                    f"{where}: block {block_id} reaches {distances[-1] + 1} back, window {self.window}"
                )
            if block.block_type not in self.block_types:
                raise SpecError(f"{where}: block {block_id} is a {block.block_type}")
            parents += distances
        tokens = [*order, *parents]
        if len(self.level_offsets) > 1:
            pairs = zip(spec.blocks[:n], bases, strict=True)
            tokens += [self.level_offsets.index(block.level - base) for block, base in pairs]
        if len(self.block_types) > 1:
            tokens += [self.block_types.index(block.block_type) for block in spec.blocks]
        return tuple(tokens)

    def sample(self, rng: np.random.Generator) -> tuple[int, ...]:
        """A choice sequence drawn uniformly from all that the masks allow."""
        tokens = list(self._layout.order.sample(rng))
        bases = self._layout.order.decode(tokens)[: self.num_intermediate]
        for reach in self._layout.reach:
            first, second = int(rng.integers(reach)), int(rng.integers(reach - 1))
            tokens += sorted((first, second + (second >= first)))
        if len(self.level_offsets) > 1:
            for base in bases:
                allowed = self._layout.offset_choices[base]
                tokens.append(allowed[int(rng.integers(len(allowed)))])
        if len(self.block_types) > 1:
            tokens += [int(rng.integers(len(self.block_types))) for _ in range(self.num_blocks)]
        return tuple(tokens)

    def mutate(self, tokens: Sequence[int], rng: np.random.Generator) -> tuple[int, ...]:
        """These choices with one change, and so another network (`spinesearch.space.neighbours`).

        Raises:
            SpecError: the choices are not allowed, or no single change gives another network.
        """
        return mutate(self._layout, tokens, rng, self.decode)

    def features(self, tokens: Sequence[int]) -> tuple[float, ...]:
        """What a model of the reward sees of these choices: `spinesearch.space.features`."""
        return features(self.decode(tokens))

    def identity(self, tokens: Sequence[int]) -> str | None:
        """The `ArchSpec.arch_id` of these choices."""
        return self.decode(tokens).arch_id

    def _refusal(self, tokens: Sequence[int]) -> SpecError:
        """What to say of choices that are not allowed: the first of them."""
        for position, decision in enumerate(self.decisions):
            mask = self.choice_mask(tokens[:position])
            allowed = [c for c, is_allowed in enumerate(mask) if is_allowed]
            if tokens[position] not in allowed:
                return SpecError(
                    f"tokens: decision {position} ({decision.name}) allows {allowed}, got {tokens[position]}"
                )
        raise AssertionError(f"each of these choices is allowed, and not all of them: {tokens}")

    @cached_property
    def _layout(self) -> ChoiceLayout:
        order: BlockOrder = PermutedOrder(base_levels=self.base_levels)
        if self.fixed_order is not None:
            order = FixedOrder(order=self.fixed_order, first_id=len(self.stem))
        return ChoiceLayout(
            order=order,
            base_levels=self.base_levels,
            num_stem=len(self.stem),
            window=self.window,
            level_offsets=self.level_offsets,
            num_types=len(self.block_types),
        )
