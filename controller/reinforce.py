"""REINFORCE (Williams 1992; for architectures Zoph & Le, arXiv 1611.01578) with an LSTM policy.

Shapes: N candidates of a generation, T decisions, C the most choices a decision has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spinesearch.controller.protocol import DecisionSpace, Rollout, Suggestion, candidate_rng, scored

if TYPE_CHECKING:
    from torch import Tensor

# Added to the deviation that advantages are divided by. Rewards are APs in 0..1: differences well below a
# thousandth, rounding above all, stay small in the advantages too.
_MIN_DEVIATION = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class ReinforceSettings:
    """REINFORCE with an LSTM policy.

    Attributes:
        name: what `conf/controller` calls it.
        hidden_size: units of the LSTM.
        embedding_size: size of the vector that a choice is fed back as.
        learning_rate: Adam's step size.
        ent_coef: weight of the entropy bonus (nats per decision) against the normalised advantage.
        baseline_decay: share of the old value that the moving-average baseline keeps at an update.
        max_importance_ratio: bound on the weight of a candidate that a later policy finds likelier than the
            one that sampled it (truncated importance sampling, Ionides 2008).
        max_grad_norm: bound on the norm of the policy's gradient.

    Raises:
        ValueError: a value breaks its rule; the message begins with ``controller.<field>``.
    """

    name: str = "reinforce"
    hidden_size: int = 64
    embedding_size: int = 32
    learning_rate: float = 5e-3
    ent_coef: float = 0.01
    baseline_decay: float = 0.9
    max_importance_ratio: float = 2.0
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        for field in ("hidden_size", "embedding_size", "learning_rate", "max_grad_norm"):
            if not 0 < getattr(self, field) < math.inf:
                raise ValueError(
                    f"controller.{field}: must be positive and finite, got {getattr(self, field)}"
                )
        if not 0 <= self.ent_coef < math.inf:
            raise ValueError(f"controller.ent_coef: must be finite and not negative, got {self.ent_coef}")
        if not 0 <= self.baseline_decay < 1:
            raise ValueError(f"controller.baseline_decay: must be in [0, 1), got {self.baseline_decay}")
        if not 1 <= self.max_importance_ratio < math.inf:
            raise ValueError(
                "controller.max_importance_ratio: must be finite and at least 1, "
                f"got {self.max_importance_ratio}"
            )

    def build(self, space: DecisionSpace, *, seed: int) -> ReinforceController:
        """The strategy in its initial state."""
        return ReinforceController(space, seed=seed, settings=self)


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
        import torch

        from spinesearch.controller.policy import LstmPolicy

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

    def suggest(self, count: int, *, given: Sequence[tuple[int, ...]] = ()) -> list[Suggestion]:
        """The next ``count`` candidates, sampled from the current policy."""
        from spinesearch.controller.sampling import sample

        numbers = range(self._num_suggested, self._num_suggested + count)
        self._num_suggested += count
        num_decisions = len(self._space.num_choices)
        uniforms = np.stack([candidate_rng(self._seed, number).random(num_decisions) for number in numbers])
        return sample(self._policy, self._space, uniforms, given)

    def update(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """One gradient step on a generation; none if its gradient is not finite, or without rollouts.

        Returns:
            ``loss``, ``entropy`` (mean nats per decision), ``baseline`` (the one used), ``importance_ratio``
            (mean weight) and ``grad_norm`` (before clipping); nothing without rollouts.
        """
        import torch

        from spinesearch.controller.sampling import choice_masks, single_threaded

        settings = self._settings
        rollouts = scored(rollouts)
        if not rollouts:
            return {}
        rewards = torch.tensor([rollout.reward for rollout in rollouts], dtype=torch.float64)
        tokens = torch.tensor([rollout.tokens for rollout in rollouts])
        masks = choice_masks(self._space, [rollout.tokens for rollout in rollouts])
        sampled_log_prob = torch.tensor([math.fsum(rollout.log_probs or ()) for rollout in rollouts])

        baseline = self._baseline if self._baseline is not None else float(rewards.mean())
        advantages = rewards - baseline
        self._track(rewards, baseline)
        advantages = (advantages / (math.sqrt(self._reward_variance) + _MIN_DEVIATION)).float()

        with single_threaded():
            log_probs = self._policy(tokens, masks)  # [N, T, C]
            log_prob = log_probs.gather(-1, tokens[..., None]).squeeze(-1).sum(dim=1)
            ratio = (log_prob.detach() - sampled_log_prob).exp().clamp(max=settings.max_importance_ratio)
            entropy = -(log_probs.exp() * log_probs.masked_fill(~masks, 0.0)).sum(dim=-1).mean()
            loss = -(ratio * advantages * log_prob).mean() - settings.ent_coef * tokens.shape[1] * entropy
            self._optimizer.zero_grad()
            loss.backward()
            grad_norm = torch.nn.utils.clip_grad_norm_(self._policy.parameters(), settings.max_grad_norm)
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
