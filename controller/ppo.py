"""Proximal policy optimisation (Schulman et al., arXiv 1707.06347) with a policy that decides block by block.

Shapes: N candidates of a generation, T decisions, C the most choices a decision has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spinesearch.controller.policies.settings import check_policy_settings
from spinesearch.controller.protocol import DecisionSpace, Rollout, Suggestion, scored

ENCODINGS = ("blocks", "sequence")


@dataclass(frozen=True, kw_only=True, slots=True)
class PpoSettings:
    """PPO.

    Attributes:
        name: what `conf/controller` calls it.
        encoding: ``blocks``: block by block, with a pointer for parents; ``sequence``: in the space's order,
            with a head per decision, as `reinforce`.
        hidden_size: units of the LSTM.
        embedding_size: size of the vectors that it is fed.
        learning_rate: Adam's step size.
        num_epochs: gradient steps per generation.
        clip_coef: how far from 1 the ratio of new and old probability of a choice counts.
        ent_coef: as in `ReinforceSettings`.
        entropy_target: as in `ReinforceSettings`.
        baseline_decay: as in `ReinforceSettings`.
        max_advantage: as in `ReinforceSettings`.
        max_grad_norm: bound on the norm of the policy's gradient.

    Raises:
        ValueError: a value breaks its rule; the message begins with ``controller.<field>``.
    """

    name: str = "ppo"
    encoding: str = "blocks"
    hidden_size: int = 64
    embedding_size: int = 32
    learning_rate: float = 0.01
    num_epochs: int = 4
    clip_coef: float = 0.2
    ent_coef: float = 0.01
    entropy_target: float | None = 0.5
    baseline_decay: float = 0.9
    max_advantage: float | None = 2.0
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        check_policy_settings(self)
        if self.encoding not in ENCODINGS:
            raise ValueError(
                f"controller.encoding: must be one of {', '.join(ENCODINGS)}, got {self.encoding!r}"
            )
        if self.num_epochs < 1:
            raise ValueError(f"controller.num_epochs: must be at least 1, got {self.num_epochs}")
        if not 0 < self.clip_coef < 1:
            raise ValueError(f"controller.clip_coef: must be in (0, 1), got {self.clip_coef}")

    def build(self, space: DecisionSpace, *, seed: int) -> PpoController:
        """The strategy in its initial state."""
        return PpoController(space, seed=seed, settings=self)


class PpoController:
    """Several gradient steps per generation, each choice's ratio of probabilities clipped.

    The old probabilities are those on record, so that it does not matter how many updates ago a candidate was
    sampled.

    Args:
        space: what to choose from.
        seed: the run's seed; decides the initial weights, and with the candidate's number its choices.
        settings: see `PpoSettings`.
    """

    def __init__(self, space: DecisionSpace, *, seed: int, settings: PpoSettings | None = None) -> None:
        from spinesearch.controller.policies.blocks import BlockPolicy
        from spinesearch.controller.policies.learner import PolicyLearner
        from spinesearch.controller.policies.lstm import LstmPolicy

        self._seed = seed
        self._settings = settings = settings or PpoSettings()
        sizes = {"hidden_size": settings.hidden_size, "embedding_size": settings.embedding_size}
        policy = (
            BlockPolicy(space.decisions, seed=seed, **sizes)
            if settings.encoding == "blocks"
            else LstmPolicy(space.num_choices, seed=seed, **sizes)
        )
        self._learner = PolicyLearner(space, policy, seed=seed, settings=settings)

    @property
    def arguments(self) -> dict[str, Any]:
        """The seed, and the fields of `PpoSettings`, name included."""
        return {"seed": self._seed, **asdict(self._settings)}

    def suggest(self, count: int, *, given: Sequence[tuple[int, ...]] = ()) -> list[Suggestion]:
        """The next ``count`` candidates, sampled from the current policy."""
        return self._learner.suggest(count, given)

    def update(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """Some gradient steps on a generation; none whose gradient is not finite, or without rewards.

        Returns:
            ``loss``, ``entropy`` (mean nats per decision), ``ratio`` (mean distance from 1), ``grad_norm``
            (before clipping), all of the last step; ``baseline`` and ``ent_coef``, those used; nothing
            without rewards.
        """
        import torch

        from spinesearch.controller.one_thread import single_threaded
        from spinesearch.controller.policies.learner import sampled_log_probs
        from spinesearch.controller.policies.sampling import entropy_of

        settings, learner = self._settings, self._learner
        rollouts, rewards = scored(rollouts)
        if not rollouts:
            return {}
        tokens = torch.tensor([rollout.tokens for rollout in rollouts])
        old_log_probs = torch.tensor(sampled_log_probs(rollouts))  # [N, T]
        advantages, baseline = learner.baseline.advantages(rewards)
        clip = settings.clip_coef

        with single_threaded():
            for _ in range(settings.num_epochs):
                all_log_probs = learner.log_probs(tokens)  # [N, T, C]
                log_probs = all_log_probs.gather(-1, tokens[..., None]).squeeze(-1)
                ratio = (log_probs - old_log_probs).exp()
                gain = ratio * advantages[:, None]
                clipped_gain = ratio.clamp(1 - clip, 1 + clip) * advantages[:, None]
                entropy = entropy_of(all_log_probs)
                loss = -torch.min(gain, clipped_gain).mean() - learner.ent_coef * entropy
                grad_norm = learner.descend(loss)
        return {
            "loss": loss.item(),
            "entropy": entropy.item(),
            "ratio": (ratio - 1).abs().mean().item(),
            "grad_norm": grad_norm,
            "baseline": baseline,
            **learner.keep_entropy(entropy.item()),
        }

    def state_dict(self) -> dict[str, Any]:
        """See `PolicyLearner.state_dict`."""
        return self._learner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self._learner.load_state_dict(state)
