"""SpineNet-49 with a few types to choose: a space of 44 networks."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from spinesearch.space import BLOCK_TYPES, SPINENET_49, ArchSpec, Decision


class TypesOnly:
    """SpineNet-49 with the types of its last six intermediate blocks to choose, no three residuals in a row.

    44 networks: small enough for duplicates, with masks that matter.
    """

    name = "types_only"
    decisions = tuple(Decision(i, "type", 2) for i in range(6, 12))
    num_choices = (2,) * 6
    size = 44

    def choice_mask(self, prefix: Sequence[int]) -> tuple[bool, ...]:
        return True, tuple(prefix[-2:]) != (1, 1)

    def choice_weights(self, prefix: Sequence[int]) -> tuple[int, ...]:
        return _choice_weights(tuple(prefix))

    def decode(self, tokens: Sequence[int]) -> ArchSpec:
        return _decoded(tuple(tokens))

    def encode(self, spec: ArchSpec) -> tuple[int, ...]:
        return tuple(BLOCK_TYPES.index(block.block_type) for block in spec.blocks[4:10])

    def sample(self, rng: np.random.Generator) -> tuple[int, ...]:
        while True:  # uniform by rejection
            tokens = tuple(rng.integers(2, size=6).tolist())
            if (1, 1, 1) not in zip(tokens, tokens[1:], tokens[2:], strict=False):
                return tokens

    def mutate(self, tokens: Sequence[int], rng: np.random.Generator) -> tuple[int, ...]:
        near = [t for t in ALL_TOKENS if sum(map(operator.ne, t, tokens)) == 1]
        return near[int(rng.integers(len(near)))]

    def features(self, tokens: Sequence[int]) -> tuple[float, ...]:
        return tuple(map(float, tokens))

    def identity(self, tokens: Sequence[int]) -> str:
        return self.decode(tokens).arch_id


@functools.cache
def _choice_weights(prefix: tuple[int, ...]) -> tuple[int, ...]:
    begun = [(*prefix, choice) for choice in (0, 1)]
    return tuple(sum(tokens[: len(start)] == start for tokens in ALL_TOKENS) for start in begun)


@functools.cache
def _decoded(tokens: tuple[int, ...]) -> ArchSpec:
    blocks = list(SPINENET_49.blocks)
    for i, token in enumerate(tokens, start=4):
        blocks[i] = replace(blocks[i], block_type=BLOCK_TYPES[token])
    return replace(SPINENET_49, blocks=tuple(blocks), name="")


ALL_TOKENS = [
    tokens
    for tokens in itertools.product((0, 1), repeat=6)
    if (1, 1, 1) not in zip(tokens, tokens[1:], tokens[2:], strict=False)
]


SPACE = TypesOnly()
