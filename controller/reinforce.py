"""REINFORCE (Williams 1992; for architectures Zoph & Le, arXiv 1611.01578) with an LSTM policy.

Shapes: N candidates of a generation, T decisions, C the most choices a decision has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from spinesearch.controller.policies.settings import check_policy_settings
from spinesearch.controller.protocol import DecisionSpace, Rollout, Suggestion, scored
from spinesearch.controller.results import Results, as_tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class ReinforceSettings:
    """REINFORCE with an LSTM policy.

    Attributes:
        name: what `conf/controller` calls it.
        hidden_size: units of the LSTM.
        embedding_size: size of the vector that a choice is fed back as.
        learning_rate: Adam's step size.
        ent_coef: weight of the entropy bonus (nats per decision) against the normalised advantage; the first
            where there is a target.
        entropy_target: entropy that the policy is kept at by changing that weight, as a share of the entropy
            of uniform sampling; None to leave the weight as it is.
        baseline_decay: share of the old value that the moving-average baseline keeps at an update.
        max_advantage: bound on a normalised advantage; None for none.
        max_importance_ratio: bound on the weight of a candidate that a later policy finds likelier than the
            one that sampled it (truncated importance sampling, Ionides 2008).
        max_grad_norm: bound on the norm of the policy's gradient.
        completions: whether the untrained policy samples uniformly from all sequences, by adding the
            logarithm of the number of completions to the scores; otherwise each choice is uniform.
        distinct: whether networks that were proposed before are drawn again.
        num_imagined: gradient steps after each generation on candidates that are not trained, but have their
            rewards from a model of the results so far; 0 for none.

    Raises:
        ValueError: a value breaks its rule; the message begins with ``controller.<field>``.
    """

    name: str = "reinforce"
    hidden_size: int = 64
    embedding_size: int = 32
    learning_rate: float = 0.01
    ent_coef: float = 0.01
    baseline_decay: float = 0.9
    max_importance_ratio: float = 2.0
    max_grad_norm: float = 1.0
    # These are younger than the first ledgers, see `IN_OLD_LEDGERS`.
    entropy_target: float | None = 0.5
    max_advantage: float | None = 2.0
    completions: bool = True
    distinct: bool = True
    num_imagined: int = 0

    def __post_init__(self) -> None:
        check_policy_settings(self)
        if not 1 <= self.max_importance_ratio < math.inf:
            raise ValueError(
                "controller.max_importance_ratio: must be finite and at least 1, "
                f"got {self.max_importance_ratio}"
            )

        if self.num_imagined < 0:
            raise ValueError(f"controller.num_imagined: must not be negative, got {self.num_imagined}")

    def build(self, space: DecisionSpace, *, seed: int) -> ReinforceController:
        """The strategy in its initial state."""
        return ReinforceController(space, seed=seed, settings=self)


# What ledgers older than a setting did.
IN_OLD_LEDGERS: Mapping[str, Any] = {
    "entropy_target": None,
    "max_advantage": None,
    "completions": False,
    "distinct": False,
}
_LEAST_RESULTS = 16  # before the model is used, as `BayesianSettings.num_initial`
_NUM_IMAGINED_AT_ONCE = 32
_EXPLORATION = 0.3  # of draws from the model, as `BayesianSettings.exploration`


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
        from spinesearch.controller.policies.learner import PolicyLearner
        from spinesearch.controller.policies.lstm import LstmPolicy

        self._seed = seed
        self._results = Results(space)
        self._settings = settings = settings or ReinforceSettings()
        policy = LstmPolicy(
            space.num_choices,
            hidden_size=settings.hidden_size,
            embedding_size=settings.embedding_size,
            seed=seed,
        )
        self._learner = PolicyLearner(
            space,
            policy,
            seed=seed,
            settings=settings,
            completions=settings.completions,
            distinct=settings.distinct,
        )

    @property
    def arguments(self) -> dict[str, Any]:
        """The seed, and the fields of `ReinforceSettings`, name included."""
        return {"seed": self._seed, **asdict(self._settings)}

    def suggest(self, count: int, *, given: Sequence[tuple[int, ...]] = ()) -> list[Suggestion]:
        """The next ``count`` candidates, sampled from the current policy."""
        return self._learner.suggest(count, given)

    def update(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """One gradient step on a generation; none if its gradient is not finite, or without rewards.

        Returns:
            ``loss``, ``entropy`` (mean nats per decision), ``baseline`` (the one used), ``importance_ratio``
            (mean weight) and ``grad_norm`` (before clipping), with a target for the entropy also the
            ``ent_coef`` used; nothing without rewards.
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
        sampled_log_prob = torch.tensor([math.fsum(log_probs) for log_probs in sampled_log_probs(rollouts)])
        advantages, baseline = learner.baseline.advantages(rewards)

        with single_threaded():
            log_probs = learner.log_probs(tokens)  # [N, T, C]
            log_prob = log_probs.gather(-1, tokens[..., None]).squeeze(-1).sum(dim=1)
            ratio = (log_prob.detach() - sampled_log_prob).exp().clamp(max=settings.max_importance_ratio)
            entropy = entropy_of(log_probs)
            loss = -(ratio * advantages * log_prob).mean() - learner.ent_coef * tokens.shape[1] * entropy
            grad_norm = learner.descend(loss)
        return {
            "loss": loss.item(),
            "entropy": entropy.item(),
            "baseline": baseline,
            "importance_ratio": ratio.mean().item(),
            "grad_norm": grad_norm,
            **learner.keep_entropy(entropy.item()),
            **self._imagine(rollouts, rewards),
        }

    def _imagine(self, rollouts: Sequence[Rollout], rewards: Sequence[float]) -> dict[str, float]:
        """Some gradient steps on imagined candidates, each by a reward drawn from the model.

        Their advantages are in the unit of real ones, about their own mean: what the model is unsure of it
        expects little of, and so it moves the policy less than a result does.

        Returns:
            ``imagined_loss`` of the last step; nothing before there are `_LEAST_RESULTS` results.
        """
        settings, learner = self._settings, self._learner
        if not settings.num_imagined:
            return {}
        for rollout, reward in zip(rollouts, rewards, strict=True):
            self._results.add(rollout.trial, rollout.tokens, reward)
        if len(self._results.rewards) < _LEAST_RESULTS:
            return {}
        import torch

        from spinesearch.controller.one_thread import single_threaded
        from spinesearch.controller.policies.sampling import entropy_of

        model = self._results.model()
        rng = np.random.default_rng([self._seed, learner.num_suggested, 1])
        for _ in range(settings.num_imagined):
            imagined = learner.imagine(_NUM_IMAGINED_AT_ONCE, rng)
            features = as_tensor([self._results.features_of(tokens) for tokens in imagined])
            tokens = torch.tensor(imagined)
            with single_threaded():
                believed = features @ model.draw(rng, _EXPLORATION) * model.reward_scale
                advantages = learner.baseline.bounded(
                    (believed - believed.mean()) / learner.baseline.deviation
                )
                log_probs = learner.log_probs(tokens)  # [N, T, C]
                log_prob = log_probs.gather(-1, tokens[..., None]).squeeze(-1).sum(dim=1)
                entropy = entropy_of(log_probs)
                loss = -(advantages * log_prob).mean() - learner.ent_coef * tokens.shape[1] * entropy
                learner.descend(loss)
        return {"imagined_loss": loss.item()}

    def state_dict(self) -> dict[str, Any]:
        """See `PolicyLearner.state_dict`; with the results if candidates are imagined."""
        results = {"results": self._results.state_dict()} if self._settings.num_imagined else {}
        return {**self._learner.state_dict(), **results}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self._learner.load_state_dict(state)
        if self._settings.num_imagined:
            self._results.load_state_dict(state["results"])
