"""Local search (White et al., arXiv 2005.02960): climb from network to neighbour, and begin anew at a top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from spinesearch.controller.draws import Draws
from spinesearch.controller.protocol import DecisionSpace, Rollout, Suggestion, scored


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalSearchSettings:
    """Local search.

    Attributes:
        name: what `conf/controller` calls it.
        patience: neighbours in a row that are no better, after which a climb is over and another one begins
            at the best of new random candidates.

    Raises:
        ValueError: a value breaks its rule; the message begins with ``controller.<field>``.
    """

    name: str = "local_search"
    patience: int = 100

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise ValueError(f"controller.patience: must be at least 1, got {self.patience}")

    def build(self, space: DecisionSpace, *, seed: int) -> LocalSearchController:
        """The strategy in its initial state."""
        return LocalSearchController(space, seed=seed, settings=self)


class LocalSearchController:
    """Each candidate is a mutation of the best one of this climb; the first of a climb are random.

    Args:
        space: what to choose from.
        seed: the run's seed.
        settings: see `LocalSearchSettings`.
    """

    def __init__(
        self, space: DecisionSpace, *, seed: int, settings: LocalSearchSettings | None = None
    ) -> None:
        self._space = space
        self._seed = seed
        self._settings = settings or LocalSearchSettings()
        self._draws = Draws(space, seed)
        self._climb = 0
        self._best: tuple[int, tuple[int, ...], float] | None = None  # of this climb: trial, tokens, reward
        self._num_failures = 0  # neighbours since the last step

    @property
    def arguments(self) -> dict[str, Any]:
        """The seed, and the fields of `LocalSearchSettings`, name included."""
        return {"seed": self._seed, **asdict(self._settings)}

    def suggest(self, count: int, *, given: Sequence[tuple[int, ...]] = ()) -> list[Suggestion]:
        """The next ``count`` candidates."""
        return self._draws.suggest(count, given, self._neighbour)

    def update(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """Step to what is better, candidate by candidate.

        Returns:
            ``climb``, its number, and ``climb_best``, its best reward so far if it has one.
        """
        for rollout, reward in zip(*scored(rollouts), strict=True):
            if rollout.info.get("climb", self._climb) != self._climb:
                continue  # proposed before this climb began
            if self._best is None or reward > self._best[2]:
                self._best = rollout.trial, rollout.tokens, reward
                self._num_failures = 0
            elif "parent" in rollout.info:
                self._num_failures += 1
        stats = {"climb": float(self._climb)}
        if self._best is not None:
            stats["climb_best"] = self._best[2]
        if self._num_failures >= self._settings.patience:
            self._climb += 1
            self._best, self._num_failures = None, 0
        return stats

    def state_dict(self) -> dict[str, Any]:
        """The climb, what was proposed, and how much."""
        return {
            "climb": self._climb,
            "best": None if self._best is None else [self._best[0], list(self._best[1]), self._best[2]],
            "num_failures": self._num_failures,
            "draws": self._draws.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self._climb = state["climb"]
        best = state["best"]
        self._best = None if best is None else (best[0], tuple(best[1]), best[2])
        self._num_failures = state["num_failures"]
        self._draws.load_state_dict(state["draws"])

    def _neighbour(self, rng: np.random.Generator) -> Suggestion:
        if self._best is None:
            return Suggestion(tokens=self._space.sample(rng), info={"climb": self._climb})
        trial, tokens, _ = self._best
        return Suggestion(
            tokens=self._space.mutate(tokens, rng), info={"climb": self._climb, "parent": trial}
        )
