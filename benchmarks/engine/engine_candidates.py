"""Candidates made beforehand, so that a benchmark of the engine times neither sampling nor decoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spinesearch.controller import Rollout, Suggestion
from spinesearch.space import ArchSpec, Decision, SpineNetSpace


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedSpace:
    """The architectures of a list; one decision, which of them.

    Attributes:
        specs: the list.
    """

    specs: tuple[ArchSpec, ...]
    name: str = "prepared"
    is_mbconv: bool = False

    @classmethod
    def of_size(cls, size: int) -> PreparedSpace:
        """So many architectures, drawn from the space of the paper."""
        space, rng = SpineNetSpace(), np.random.default_rng(0)
        return cls(specs=tuple(space.decode(space.sample(rng)) for _ in range(size)))

    @property
    def levels(self) -> frozenset[int]:
        """Those of the space of the paper."""
        return SpineNetSpace().levels

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The only one."""
        return (Decision(0, "which", self.size),)

    @property
    def num_choices(self) -> tuple[int, ...]:
        """As many as there are architectures."""
        return (self.size,)

    @property
    def size(self) -> int:
        """Length of the list."""
        return len(self.specs)

    def choice_mask(self, prefix: Sequence[int]) -> tuple[bool, ...]:
        """All are allowed."""
        return (True,) * self.size

    def choice_weights(self, prefix: Sequence[int]) -> tuple[int, ...]:
        """One sequence each."""
        return (1,) * self.size

    def decode(self, tokens: Sequence[int]) -> ArchSpec:
        """The one with this number."""
        return self.specs[tokens[0]]

    def encode(self, spec: ArchSpec) -> tuple[int, ...]:
        """Its number."""
        return (self.specs.index(spec),)

    def sample(self, rng: np.random.Generator) -> tuple[int, ...]:
        """Any of them."""
        return (int(rng.integers(self.size)),)

    def mutate(self, tokens: Sequence[int], rng: np.random.Generator) -> tuple[int, ...]:
        """The one after it."""
        return ((tokens[0] + 1) % self.size,)

    def features(self, tokens: Sequence[int]) -> tuple[float, ...]:
        """Its number."""
        return (float(tokens[0]),)

    def identity(self, tokens: Sequence[int]) -> str | None:
        """That of its architecture."""
        return self.specs[tokens[0]].arch_id


class InOrder:
    """A controller that proposes the list from its beginning to its end, and around."""

    def __init__(self, space: PreparedSpace) -> None:
        self._size = space.size
        self._num_suggested = 0

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Length of the list."""
        return {"size": self._size}

    def suggest(self, count: int, *, given: Sequence[tuple[int, ...]] = ()) -> list[Suggestion]:
        """The next ones."""
        first = self._num_suggested
        self._num_suggested += count
        return [Suggestion(tokens=(i % self._size,)) for i in range(first, first + count)]

    def update(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """Nothing to learn."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """How many were suggested."""
        return {"num_suggested": self._num_suggested}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there."""
        self._num_suggested = int(state["num_suggested"])
