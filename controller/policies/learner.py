"""What strategies with a policy share: sampling, a step of Adam, the state. Their formulas are their own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spinesearch.controller.draws import CandidateRngs, Proposed
from spinesearch.controller.policies.advantages import MovingBaseline, next_ent_coef
from spinesearch.controller.policies.sampling import Policy, PolicySampler
from spinesearch.controller.policies.settings import PolicySettings
from spinesearch.controller.protocol import DecisionSpace, Rollout, Suggestion


def sampled_log_probs(rollouts: Sequence[Rollout]) -> list[tuple[float, ...]]:
    """The log-probabilities on record of each candidate.

    Raises:
        ValueError: a candidate has none.
    """
    found = [rollout.log_probs for rollout in rollouts if rollout.log_probs is not None]
    if len(found) < len(rollouts):
        raise ValueError("rollouts: log_probs must be those of the suggestion, got None; pass them on")
    return found


class PolicyLearner:
    """A policy with its optimiser, its baseline and its memory of what it proposed.

    Args:
        space: what to choose from.
        policy: a module, in its initial state.
        seed: the run's seed; decides with the candidate's number its choices.
        settings: see `PolicySettings`.
        completions: as in `ReinforceSettings`.
        distinct: as in `ReinforceSettings`.

    Attributes:
        baseline: of the rewards.
        ent_coef: weight of the entropy bonus.
    """

    def __init__(
        self,
        space: DecisionSpace,
        policy: Policy,
        *,
        seed: int,
        settings: PolicySettings,
        completions: bool = True,
        distinct: bool = True,
    ) -> None:
        assert isinstance(policy, nn.Module)
        self._policy = policy
        self._settings = settings
        self._optimizer = torch.optim.Adam(policy.parameters(), lr=settings.learning_rate)
        self._proposed = Proposed(space) if distinct else None
        self._sampler = PolicySampler(policy, space, completions=completions, proposed=self._proposed)
        self._uniform_entropy = math.log(space.size) / len(space.num_choices)  # nats per decision
        self._num_decisions = len(space.num_choices)
        self._rngs = CandidateRngs(seed)
        self.baseline = MovingBaseline(settings.baseline_decay, settings.max_advantage)
        self.ent_coef = settings.ent_coef

    def suggest(self, count: int, given: Sequence[tuple[int, ...]]) -> list[Suggestion]:
        """The next ``count`` candidates, sampled from the current policy."""
        return self._sampler.suggest(self._rngs.next(count), given)

    def imagine(self, count: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
        """Choices sampled from the current policy, which are not proposed."""
        uniforms = rng.random((count, self._num_decisions))
        return [suggestion.tokens for suggestion in self._sampler.sample(uniforms)]

    @property
    def num_suggested(self) -> int:
        """How many candidates have been suggested."""
        return self._rngs.num_suggested

    def log_probs(self, tokens: Tensor) -> Tensor:
        """Log-probabilities of every choice of every decision [N, T, C]; -inf where not allowed."""
        return self._sampler.log_probs(tokens)

    def descend(self, loss: Tensor) -> float:
        """One step down a loss, unless its gradient is not finite; the gradient's norm before clipping."""
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self._policy.parameters(), self._settings.max_grad_norm)
        if norm.isfinite():  # a step with any other would leave no policy to sample from
            self._optimizer.step()
        return norm.item()

    def keep_entropy(self, entropy: float) -> dict[str, float]:
        """Move the entropy bonus towards the target, if there is one; what to log of it."""
        if self._settings.entropy_target is None:
            return {}
        used = self.ent_coef
        self.ent_coef = next_ent_coef(used, entropy, self._settings.entropy_target * self._uniform_entropy)
        return {"ent_coef": used}

    def state_dict(self) -> dict[str, Any]:
        """Policy, optimiser, baseline, the number of candidates suggested, and what the settings add."""
        state = {
            "policy": self._policy.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            **self.baseline.state_dict(),
            "num_suggested": self._rngs.num_suggested,
        }
        # Digests in ledgers of before 2026-12 are of states without these.
        if self._settings.entropy_target is not None:
            state["ent_coef"] = self.ent_coef
        if self._proposed is not None:
            state["proposed"] = self._proposed.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self._policy.load_state_dict(state["policy"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.baseline.load_state_dict(state)
        self._rngs.num_suggested = state["num_suggested"]
        self.ent_coef = state.get("ent_coef", self.ent_coef)
        if self._proposed is not None:
            self._proposed.load_state_dict(state["proposed"])
