"""Candidates from a policy, and what a policy says of candidates.

Shapes: N candidates, T decisions, C the most choices a decision has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spinesearch.controller.policy import LstmPolicy, LstmState
from spinesearch.controller.protocol import DecisionSpace, Suggestion

# Decimals of a log-probability on record: far below what float32 leaves of it, and half a ledger.
_DECIMALS = 6

_Array = np.ndarray[Any, Any]


@contextmanager
def single_threaded() -> Iterator[None]:
    """One torch thread inside: sums are split by thread, so their last bits depend on how many there are."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


@torch.no_grad()
def sample(
    policy: LstmPolicy, space: DecisionSpace, uniforms: _Array, given: Sequence[tuple[int, ...]] = ()
) -> list[Suggestion]:
    """Candidates of a policy with the log-probabilities of their choices.

    Args:
        policy: the policy.
        space: what it chooses from.
        uniforms: float64 [N, T] in [0, 1), that decide the choices.
        given: choices made already, of the first candidates.
    """
    count, num_decisions = uniforms.shape
    prefixes: list[list[int]] = [[] for _ in range(count)]
    log_probs = np.zeros((count, num_decisions))
    previous = torch.zeros(count, dtype=torch.int64)
    state: LstmState | None = None
    with single_threaded():
        for decision in range(num_decisions):
            logits, state = policy.step(decision, previous, state)
            masks = np.array([space.choice_mask(prefix) for prefix in prefixes])
            probs = masked_softmax(logits.double().numpy()[:, : masks.shape[1]], masks)
            chosen = inverse_cdf(probs, uniforms[:, decision])
            chosen[: len(given)] = [tokens[decision] for tokens in given]
            log_probs[:, decision] = np.log(probs[np.arange(count), chosen])
            for prefix, choice in zip(prefixes, chosen, strict=True):
                prefix.append(int(choice))
            previous = torch.from_numpy(chosen)
    return [
        Suggestion(tokens=tuple(prefix), log_probs=tuple(row))
        for prefix, row in zip(prefixes, log_probs.round(_DECIMALS).tolist(), strict=True)
    ]


def choice_masks(space: DecisionSpace, sequences: Sequence[Sequence[int]]) -> Tensor:
    """Allowed choices at every decision of every candidate: bool [N, T, C]."""
    num_choices = space.num_choices
    masks = np.zeros((len(sequences), len(num_choices), max(num_choices)), dtype=np.bool_)
    for n, tokens in enumerate(sequences):
        for t, count in enumerate(num_choices):
            masks[n, t, :count] = space.choice_mask(tokens[:t])
    return torch.from_numpy(masks)


def masked_softmax(logits: _Array, masks: _Array) -> _Array:
    """Probabilities of the allowed choices [N, C]; 0 elsewhere."""
    weights = np.where(
        masks, np.exp(logits - np.where(masks, logits, -np.inf).max(axis=1, keepdims=True)), 0.0
    )
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def inverse_cdf(probs: _Array, uniforms: _Array) -> _Array:
    """The choice at which the cumulative probability passes each uniform number; none of probability 0."""
    cumulative = probs.cumsum(axis=1)
    cumulative /= cumulative[:, -1:]  # exactly 1 at the end
    return np.asarray((cumulative <= uniforms[:, None]).sum(axis=1))
