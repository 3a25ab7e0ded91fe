"""What a search strategy is: `Controller`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np


class Decision(Protocol):
    """One decision of a space."""

    @property
    def num_choices(self) -> int:
        """Among how many."""

    @property
    def block(self) -> int:
        """Of which block something is decided."""

    @property
    def kind(self) -> str:
        """What is decided; a ``nearer parent`` or ``farther parent`` as its distance back, less one."""


class DecisionSpace(Protocol):
    """What a controller needs to know of a search space: decisions, choices, masks."""

    @property
    def decisions(self) -> Sequence[Decision]:
        """Every decision in order."""

    @property
    def num_choices(self) -> tuple[int, ...]:
        """Number of choices of each decision, before masking."""

    @property
    def size(self) -> int:
        """Number of choice sequences the masks allow."""

    def choice_mask(self, prefix: Sequence[int]) -> tuple[bool, ...]:
        """Which choices the decision after ``prefix`` has; at least one."""

    def choice_weights(self, prefix: Sequence[int]) -> Sequence[float]:
        """To how many allowed sequences each choice after ``prefix`` leads, up to a common factor."""

    def sample(self, rng: np.random.Generator) -> tuple[int, ...]:
        """A choice sequence drawn uniformly from all allowed ones."""

    def mutate(self, tokens: Sequence[int], rng: np.random.Generator) -> tuple[int, ...]:
        """An allowed sequence that differs from this one in one place of the network."""

    def features(self, tokens: Sequence[int]) -> Sequence[float]:
        """Numbers that describe the network of a sequence, always as many."""

    def identity(self, tokens: Sequence[int]) -> str | None:
        """The same for all sequences that give one network; None for one that may not be proposed."""


Status = Literal["completed", "failed", "duplicate", "infeasible", "lost"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Suggestion:
    """A candidate.

    Attributes:
        tokens: its choices.
        log_probs: of each choice when it was sampled, nats; None where a strategy has no probabilities.
        info: what the strategy believed, as plain data for the ledger: the number of its ``parent``, the
            ``prediction`` of its reward and the prediction's ``spread``.
    """

    tokens: tuple[int, ...]
    log_probs: tuple[float, ...] | None = None
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """What became of a candidate.

    Attributes:
        trial: its number, which counts all suggestions of the run from 0.
        tokens: its choices.
        log_probs: as suggested. Ledgers before 2026-12 hold their sum alone, which stands here by itself.
        info: as suggested.
        status: how it ended. A ``duplicate`` has the reward of the trial that it repeats.
        reward: finite; that of failures where it ``failed``. None where nothing is known of it: ``lost`` with
            its workers, or ``infeasible`` and never trained. Nothing is learnt from those.
        metrics: by name, as far as it has any.
        rung: the last rung of the training that it reached, from 0.

    The strategies here learn from rewards; ``status``, ``metrics`` and ``rung`` are there for others.
    """

    trial: int
    tokens: tuple[int, ...]
    log_probs: tuple[float, ...] | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    status: Status = "completed"
    reward: float | None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    rung: int = 0


class Controller(Protocol):
    """A search strategy.

    Two controllers of equal arguments that receive equal calls give equal answers, in any process: candidate
    i is sampled with a generator seeded by (seed, i), where i counts all suggestions so far.

    Example::

        controller = ReinforceController(space, seed=0)
        for generation in range(10):
            suggestions = controller.suggest(8)
            controller.update(
                [
                    Rollout(
                        trial=trial,
                        tokens=s.tokens,
                        log_probs=s.log_probs,
                        info=s.info,
                        reward=score(s.tokens),
                    )
                    for trial, s in enumerate(suggestions, start=8 * generation)
                ]
            )
    """

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What it was built with besides the space, as plain data: seed, name, settings."""

    def suggest(self, count: int, *, given: Sequence[tuple[int, ...]] = ()) -> list[Suggestion]:
        """The next ``count`` candidates.

        Args:
            count: how many.
            given: choices that somebody else has made, at most ``count``: they become the first of these
                candidates, with what the strategy has to say of them.
        """

    def update(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """Learn from a generation's candidates, in candidate order; returns what to log.

        Without any that has a reward, nothing is learnt.
        """

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides future answers, as plain data and tensors."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict` of a controller of equal arguments."""


def scored(rollouts: Sequence[Rollout]) -> tuple[list[Rollout], list[float]]:
    """Those with a reward, and the rewards.

    Raises:
        ValueError: a reward is not finite.
    """
    kept = [rollout for rollout in rollouts if rollout.reward is not None]
    rewards = [float(rollout.reward) for rollout in kept if rollout.reward is not None]
    if not all(map(math.isfinite, rewards)):
        raise ValueError(f"rollouts: rewards must be finite, got {rewards}")
    return kept, rewards


def candidate_rng(seed: int, candidate: int) -> np.random.Generator:
    """The generator that candidate number ``candidate`` of a run is sampled with."""
    return np.random.default_rng([seed, candidate])
