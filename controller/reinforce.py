"""REINFORCE (Williams 1992; for architectures Zoph & Le, arXiv 1611.01578) with an LSTM policy.

Shapes: N candidates of a generation, T decisions, C the most choices a decision has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spinesearch.controller.policy import LstmPolicy, LstmState
from spinesearch.controller.protocol import DecisionSpace, Rollout, Suggestion, candidate_rng
from spinesearch.controller.settings import ReinforceSettings

# Added to the deviation that advantages are divided by. Rewards are APs in 0..1: differences well below a
# thousandth, rounding above all, stay small in the advantages too.
_MIN_DEVIATION = 1e-3


class ReinforceController:
    """Policy gradient with a moving-average baseline, an entropy bonus and truncated importance weights.

    Candidates may have been sampled by a policy some updates old (the search's lag); the importance ratio of
    the two policies corrects for it.

    Args:
        space: what to choose from.
        seed: the run's seed; decides the initial weights, and with the candidate's number its choices.
        settings: see `ReinforceSettings`.
    """

    def __init__(self, space: DecisionSpace, *, seed: int, settings: ReinforceSettings | None = None) -> None:
        self._space = space
        self._seed = seed
        self._settings = settings = settings or ReinforceSettings()
        self._policy = LstmPolicy(
            space.num_choices,
            hidden_size=settings.hidden_size,
            embedding_size=settings.embedding_size,
            seed=seed,
        )
        self._optimizer = torch.optim.Adam(self._policy.parameters(), lr=settings.learning_rate)
        self._num_suggested = 0
        self._baseline: float | None = None
        self._reward_variance = 0.0

    @property
    def arguments(self) -> dict[str, Any]:
        """The seed, and the fields of `ReinforceSettings`, name included."""
        return {"seed": self._seed, **asdict(self._settings)}

    @torch.no_grad()
    def suggest(self, count: int) -> list[Suggestion]:
        """The next ``count`` candidates, sampled from the current policy."""
        first = self._num_suggested
        self._num_suggested += count
        num_decisions = len(self._space.num_choices)
        uniforms = np.stack(
            [candidate_rng(self._seed, first + n).random(num_decisions) for n in range(count)]
        )
        prefixes: list[list[int]] = [[] for _ in range(count)]
        log_probs = np.zeros(count)
        previous = torch.zeros(count, dtype=torch.int64)
        state: LstmState | None = None
        with _single_threaded():
            for decision in range(num_decisions):
                logits, state = self._policy.step(decision, previous, state)
                masks = np.array([self._space.choice_mask(prefix) for prefix in prefixes])
                probs = _masked_softmax(logits.double().numpy()[:, : masks.shape[1]], masks)
                chosen = _inverse_cdf(probs, uniforms[:, decision])
                log_probs += np.log(probs[np.arange(count), chosen])
                for prefix, choice in zip(prefixes, chosen, strict=True):
                    prefix.append(int(choice))
                previous = torch.from_numpy(chosen)
        return [
            Suggestion(tokens=tuple(prefix), log_prob=float(log_prob))
            for prefix, log_prob in zip(prefixes, log_probs, strict=True)
        ]

    def update(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """One gradient step on a generation; none if its gradient is not finite, or without rollouts.

        Returns:
            ``loss``, ``entropy`` (mean nats per decision), ``baseline`` (the one used), ``importance_ratio``
            (mean weight) and ``grad_norm`` (before clipping); nothing without rollouts.
        """
        settings = self._settings
        if not rollouts:
            return {}
        rewards = torch.tensor([rollout.reward for rollout in rollouts], dtype=torch.float64)
        if not rewards.isfinite().all():
            raise ValueError(f"rollouts: rewards must be finite, got {rewards.tolist()}")
        tokens = torch.tensor([rollout.tokens for rollout in rollouts])
        masks = self._masks(rollouts)
        sampled_log_prob = torch.tensor([rollout.log_prob for rollout in rollouts])

        baseline = self._baseline if self._baseline is not None else float(rewards.mean())
        advantages = rewards - baseline
        self._track(rewards, baseline)
        advantages = (advantages / (math.sqrt(self._reward_variance) + _MIN_DEVIATION)).float()

        with _single_threaded():
            log_probs = self._policy(tokens, masks)  # [N, T, C]
            log_prob = log_probs.gather(-1, tokens[..., None]).squeeze(-1).sum(dim=1)
            ratio = (log_prob.detach() - sampled_log_prob).exp().clamp(max=settings.max_importance_ratio)
            entropy = -(log_probs.exp() * log_probs.masked_fill(~masks, 0.0)).sum(dim=-1).mean()
            loss = -(ratio * advantages * log_prob).mean() - settings.ent_coef * tokens.shape[1] * entropy
            self._optimizer.zero_grad()
            loss.backward()
            grad_norm = nn.utils.clip_grad_norm_(self._policy.parameters(), settings.max_grad_norm)
            if grad_norm.isfinite():  # a step with any other would leave no policy to sample from
                self._optimizer.step()
        return {
            "loss": loss.item(),
            "entropy": entropy.item(),
            "baseline": baseline,
            "importance_ratio": ratio.mean().item(),
            "grad_norm": grad_norm.item(),
        }

    def state_dict(self) -> dict[str, Any]:
        """Policy, optimiser, baseline and the number of candidates suggested."""
        return {
            "policy": self._policy.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "baseline": self._baseline,
            "reward_variance": self._reward_variance,
            "num_suggested": self._num_suggested,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self._policy.load_state_dict(state["policy"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._baseline = state["baseline"]
        self._reward_variance = state["reward_variance"]
        self._num_suggested = state["num_suggested"]

    def _track(self, rewards: Tensor, baseline: float) -> None:
        """Move the baseline and the variance around it; the first generation sets both."""
        decay = self._settings.baseline_decay if self._baseline is not None else 0.0
        self._baseline = decay * baseline + (1 - decay) * float(rewards.mean())
        variance = float((rewards - baseline).square().mean())
        self._reward_variance = decay * self._reward_variance + (1 - decay) * variance

    def _masks(self, rollouts: Sequence[Rollout]) -> Tensor:
        """Allowed choices at every decision of every candidate: bool [N, T, C]."""
        num_choices = self._space.num_choices
        masks = np.zeros((len(rollouts), len(num_choices), max(num_choices)), dtype=np.bool_)
        for n, rollout in enumerate(rollouts):
            for t, count in enumerate(num_choices):
                masks[n, t, :count] = self._space.choice_mask(rollout.tokens[:t])
        return torch.from_numpy(masks)


@contextmanager
def _single_threaded() -> Iterator[None]:
    """One torch thread inside: sums are split by thread, so their last bits depend on how many there are."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def _masked_softmax(logits: np.ndarray[Any, Any], masks: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    weights = np.where(
        masks, np.exp(logits - np.where(masks, logits, -np.inf).max(axis=1, keepdims=True)), 0.0
    )
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _inverse_cdf(probs: np.ndarray[Any, Any], uniforms: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The choice at which the cumulative probability passes each uniform number; none of probability 0."""
    cumulative = probs.cumsum(axis=1)
    cumulative /= cumulative[:, -1:]  # exactly 1 at the end
    return np.asarray((cumulative <= uniforms[:, None]).sum(axis=1))
