"""Uniform random search, the baseline that every strategy has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spinesearch.controller.draws import CandidateRngs
from spinesearch.controller.protocol import DecisionSpace, Rollout, Suggestion


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomSettings:
    """Uniform random search: nothing to set."""

    name: str = "random"

    def build(self, space: DecisionSpace, *, seed: int) -> RandomController:
        """The strategy in its initial state."""
        return RandomController(space, seed=seed)


class RandomController:
    """Candidates drawn uniformly from the space; learns nothing.

    Args:
        space: what to choose from.
        seed: the run's seed; candidate i depends on (seed, i) alone.
    """

    def __init__(self, space: DecisionSpace, *, seed: int) -> None:
        self._space = space
        self._seed = seed
        self._rngs = CandidateRngs(seed)

    @property
    def arguments(self) -> dict[str, Any]:
        """Seed and name."""
        return {"seed": self._seed, "name": "random"}

    def suggest(self, count: int, *, given: Sequence[tuple[int, ...]] = ()) -> list[Suggestion]:
        """The next ``count`` candidates."""
        drawn = [self._space.sample(rng) for rng in self._rngs.next(count, len(given))]
        return [Suggestion(tokens=tokens) for tokens in (*given, *drawn)]

    def update(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """Nothing to learn, nothing to log."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """How many candidates were suggested."""
        return {"num_suggested": self._rngs.num_suggested}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self._rngs.num_suggested = int(state["num_suggested"])
