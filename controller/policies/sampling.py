"""Candidates from a policy, and what a policy says of candidates.

A policy's scores and the prior of the space make its probabilities. With the numbers of completions as prior,
a policy whose scores are all 0 draws sequences uniformly; with none, it draws each choice uniformly.

Shapes: N candidates, T decisions, C the most choices a decision has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from spinesearch.controller.draws import Proposed
from spinesearch.controller.one_thread import single_threaded
from spinesearch.controller.protocol import DecisionSpace, Suggestion

# Decimals of a log-probability on record: far below what float32 leaves of it, and half the bytes.
_DECIMALS = 8
# Whole generations drawn until every candidate is new and within limits. One that is only with a probability
# of .2 is found with .999; a policy that fails at this has collapsed.
_MAX_BATCHES = 30

_Array = np.ndarray[Any, Any]


class Policy(Protocol):
    """What is sampled from, see `LstmPolicy`."""

    @property
    def order(self) -> Sequence[int]:
        """The positions of the decisions in the order in which they are made."""

    def step(self, index: int, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Scores [N, C] of the ``index``-th decision, and the state for the next."""

    def __call__(self, tokens: Tensor) -> Tensor:
        """Scores [N, T, C] of every decision of whole candidates."""


class PolicySampler:
    """Draws a policy's candidates, and finds their probabilities again.

    Args:
        policy: the policy.
        space: what it chooses from.
        completions: whether the numbers of completions are its prior.
        proposed: what is not to be proposed again; None to propose whatever is drawn.
    """

    def __init__(
        self, policy: Policy, space: DecisionSpace, *, completions: bool, proposed: Proposed | None
    ) -> None:
        self._policy = policy
        self._space = space
        self._completions = completions
        self._proposed = proposed

    def suggest(
        self, rngs: Sequence[np.random.Generator], given: Sequence[tuple[int, ...]]
    ) -> list[Suggestion]:
        """One candidate per generator, the first of them as given.

        Always a whole batch is drawn: the last bits of one depend on its size.
        """
        chosen: dict[int, Suggestion] = {}
        for batch in range(_MAX_BATCHES):
            uniforms = np.stack([rng.random(len(self._space.num_choices)) for rng in rngs])
            for n, suggestion in enumerate(self.sample(uniforms, given)):
                is_last = n < len(given) or batch == _MAX_BATCHES - 1
                if n not in chosen and (self._takes(suggestion) or is_last):
                    chosen[n] = suggestion
            if len(chosen) == len(rngs):
                break
        candidates = [chosen[n] for n in range(len(rngs))]
        return self._within_limits(candidates, rngs, num_given=len(given))

    def _within_limits(
        self, candidates: list[Suggestion], rngs: Sequence[np.random.Generator], *, num_given: int
    ) -> list[Suggestion]:
        """The candidates, with uniform samples of the space for those that cost more than it allows.

        A policy that has not learnt yet what is cheap does not find it in a few whole batches. The samples
        have the policy's log-probabilities.
        """
        if self._proposed is None:
            return candidates
        costly = [
            n for n in range(num_given, len(rngs)) if self._space.identity(candidates[n].tokens) is None
        ]
        if costly:
            drawn = [self._space.sample(rngs[n]) for n in costly]
            uniforms = np.zeros((len(rngs), len(self._space.num_choices)))
            for n, suggestion in zip(costly, self.sample(uniforms, drawn), strict=False):
                self._takes(suggestion)
                candidates[n] = suggestion
        return candidates

    def log_probs(self, tokens: Tensor) -> Tensor:
        """Log-probabilities of every choice of every decision [N, T, C]; -inf where not allowed."""
        priors = np.full((*tokens.shape, max(self._space.num_choices)), -np.inf, dtype=np.float32)
        for n, row in enumerate(tokens.tolist()):
            for t in range(len(row)):
                prior = self._prior(row, t)
                priors[n, t, : len(prior)] = prior
        return torch.log_softmax(self._policy(tokens) + torch.from_numpy(priors), dim=-1)

    def _takes(self, suggestion: Suggestion) -> bool:
        return self._proposed is None or self._proposed.take(suggestion.tokens)

    @torch.no_grad()
    def sample(self, uniforms: _Array, given: Sequence[tuple[int, ...]] = ()) -> list[Suggestion]:
        """Candidates by the inverse CDF of uniform numbers [N, T]."""
        count = len(uniforms)
        tokens = torch.zeros(uniforms.shape, dtype=torch.int64)
        rows = tokens.numpy()  # the same memory
        log_probs = np.zeros(uniforms.shape)
        state: Any = None
        with single_threaded():
            for index, t in enumerate(self._policy.order):
                scores, state = self._policy.step(index, tokens, state)
                priors = np.array([self._prior(row, t) for row in rows.tolist()])
                probs = softmax(scores.double().numpy()[:, : priors.shape[1]] + priors)
                rows[:, t] = inverse_cdf(probs, uniforms[:, t])
                rows[: len(given), t] = [sequence[t] for sequence in given]
                log_probs[:, t] = np.log(probs[np.arange(count), rows[:, t]])
        rounded: Any = log_probs.round(_DECIMALS).tolist()
        return [
            Suggestion(tokens=tuple(row), log_probs=tuple(values))
            for row, values in zip(rows.tolist(), rounded, strict=True)
        ]

    def _prior(self, tokens: Sequence[int], position: int) -> list[float]:
        """Log-prior of a decision's choices, given those before it; -inf where not allowed."""
        if self._completions:
            return _logs(self._space.choice_weights(tokens[:position]))
        return [0.0 if allowed else -math.inf for allowed in self._space.choice_mask(tokens[:position])]


@lru_cache(maxsize=4096)
def _logs(weights: tuple[int, ...]) -> list[float]:
    """Logarithms of numbers of completions, of which many decisions have the same."""
    return [math.log(weight) if weight else -math.inf for weight in weights]


def entropy_of(log_probs: Tensor) -> Tensor:
    """Mean entropy of a decision, nats."""
    is_allowed = log_probs > -torch.inf
    return -(log_probs.exp() * log_probs.masked_fill(~is_allowed, 0.0)).sum(dim=-1).mean()


def softmax(logits: _Array) -> _Array:
    """Probabilities [N, C]; 0 where the logit is -inf."""
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def inverse_cdf(probs: _Array, uniforms: _Array) -> _Array:
    """The choice at which the cumulative probability passes each uniform number; none of probability 0."""
    cumulative = probs.cumsum(axis=1)
    cumulative /= cumulative[:, -1:]  # exactly 1 at the end
    return np.asarray((cumulative <= uniforms[:, None]).sum(axis=1))
