"""What a search strategy is: `Controller`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


class DecisionSpace(Protocol):
    """What a controller needs to know of a search space: decisions, choices, masks."""

    @property
    def num_choices(self) -> tuple[int, ...]:
        """Number of choices of each decision, before masking."""

    @property
    def size(self) -> int:
        """Number of choice sequences the masks allow."""

    def choice_mask(self, prefix: Sequence[int]) -> tuple[bool, ...]:
        """Which choices the decision after ``prefix`` has; at least one."""

    def sample(self, rng: np.random.Generator) -> tuple[int, ...]:
        """A choice sequence drawn uniformly from all allowed ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Suggestion:
    """A candidate: its choices, and the log-probability (nats) with which they were sampled."""

    tokens: tuple[int, ...]
    log_prob: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """A scored candidate: its choices, their log-probability when sampled, and its reward (finite)."""

    tokens: tuple[int, ...]
    log_prob: float
    reward: float


class Controller(Protocol):
    """A search strategy.

    Two controllers of equal arguments that receive equal calls give equal answers, in any process: candidate
    i is sampled with a generator seeded by (seed, i), where i counts all suggestions so far.

    Example::

        controller = ReinforceController(space, seed=0)
        for generation in range(10):
            suggestions = controller.suggest(8)
            rollouts = [
                Rollout(tokens=s.tokens, log_prob=s.log_prob, reward=score(s.tokens)) for s in suggestions
            ]
            controller.update(rollouts)
    """

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What it was built with besides the space, as plain data: seed, name, settings."""

    def suggest(self, count: int) -> list[Suggestion]:
        """The next ``count`` candidates."""

    def update(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """Learn from a generation's scored candidates, in candidate order; returns what to log.

        There may be fewer than were suggested, as some can be lost without a score; without any, nothing is
        learnt.
        """

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides future answers, as plain data and tensors."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict` of a controller of equal arguments."""


def candidate_rng(seed: int, candidate: int) -> np.random.Generator:
    """The generator that candidate number ``candidate`` of a run is sampled with."""
    return np.random.default_rng([seed, candidate])
