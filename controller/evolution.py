"""Regularised evolution (Real et al., arXiv 1802.01548): the best of a few is mutated, the oldest dies."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from spinesearch.controller.draws import Draws
from spinesearch.controller.protocol import DecisionSpace, Rollout, Suggestion, scored


@dataclass(frozen=True, kw_only=True, slots=True)
class EvolutionSettings:
    """Regularised evolution.

    Attributes:
        name: what `conf/controller` calls it.
        population_size: candidates that may become parents: the last ones with a reward. Before there are so
            many, candidates are drawn uniformly.
        tournament_size: of them are drawn, and the best becomes the parent.

    Raises:
        ValueError: a value breaks its rule; the message begins with ``controller.<field>``.
    """

    name: str = "evolution"
    population_size: int = 40
    tournament_size: int = 10

    def __post_init__(self) -> None:
        if self.population_size < 2:
            raise ValueError(f"controller.population_size: must be at least 2, got {self.population_size}")
        if not 1 <= self.tournament_size <= self.population_size:
            raise ValueError(
                f"controller.tournament_size: must be in 1..{self.population_size}, the population's size, "
                f"got {self.tournament_size}"
            )

    def build(self, space: DecisionSpace, *, seed: int) -> EvolutionController:
        """The strategy in its initial state."""
        return EvolutionController(space, seed=seed, settings=self)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Member:
    """A candidate of the population."""

    trial: int
    tokens: tuple[int, ...]
    reward: float


class EvolutionController:
    """Each candidate is a mutation of the best of some members of the population.

    Args:
        space: what to choose from.
        seed: the run's seed.
        settings: see `EvolutionSettings`.
    """

    def __init__(self, space: DecisionSpace, *, seed: int, settings: EvolutionSettings | None = None) -> None:
        self._space = space
        self._seed = seed
        self._settings = settings or EvolutionSettings()
        self._population: deque[_Member] = deque(maxlen=self._settings.population_size)
        self._draws = Draws(space, seed)

    @property
    def arguments(self) -> dict[str, Any]:
        """The seed, and the fields of `EvolutionSettings`, name included."""
        return {"seed": self._seed, **asdict(self._settings)}

    def suggest(self, count: int, *, given: Sequence[tuple[int, ...]] = ()) -> list[Suggestion]:
        """The next ``count`` candidates."""
        return self._draws.suggest(count, given, self._child)

    def update(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """The population's youngest are this generation's; the oldest leave it.

        Returns:
            ``population``, its size, and ``population_mean``, of its rewards; nothing before it has members.
        """
        for rollout, reward in zip(*scored(rollouts), strict=True):
            self._population.append(_Member(trial=rollout.trial, tokens=rollout.tokens, reward=reward))
        if not self._population:
            return {}
        mean = sum(member.reward for member in self._population) / len(self._population)
        return {"population": float(len(self._population)), "population_mean": mean}

    def state_dict(self) -> dict[str, Any]:
        """The population, what was proposed, and how much."""
        return {
            "population": [[m.trial, list(m.tokens), m.reward] for m in self._population],
            "draws": self._draws.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self._population.clear()
        for trial, tokens, reward in state["population"]:
            self._population.append(_Member(trial=trial, tokens=tuple(tokens), reward=reward))
        self._draws.load_state_dict(state["draws"])

    def _child(self, rng: np.random.Generator) -> Suggestion:
        if len(self._population) < self._settings.population_size:
            return Suggestion(tokens=self._space.sample(rng))
        drawn = rng.integers(len(self._population), size=self._settings.tournament_size)
        parent = max((self._population[i] for i in drawn), key=lambda member: member.reward)
        return Suggestion(tokens=self._space.mutate(parent.tokens, rng), info={"parent": parent.trial})
