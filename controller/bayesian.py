"""Bayesian optimisation: a model of the reward, refitted each generation, says where to look next.

As BANANAS (White et al., arXiv 1910.11858) it draws from the model (Thompson sampling) and looks for the
optimum of the draw among mutations of the best. Its model is linear in features of the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spinesearch.controller.draws import Draws
from spinesearch.controller.protocol import DecisionSpace, Rollout, Suggestion, scored
from spinesearch.controller.results import Features, Results, as_tensor

_LEAST_LOOKED_AT = 12  # networks per candidate: a generation of 64 is to take less than 2 s

Tokens = tuple[int, ...]

if TYPE_CHECKING:
    from torch import Tensor

    from spinesearch.controller.ridge import Ridge


@dataclass(frozen=True, kw_only=True, slots=True)
class BayesianSettings:
    """Bayesian optimisation.

    Attributes:
        name: what `conf/controller` calls it.
        num_initial: candidates drawn uniformly before the model is used: until so many have a reward.
        num_incumbents: the candidates with the best expected rewards, whose mutations are looked at.
        num_rounds: how often the best of a draw are mutated again.
        num_looked_at: networks whose features are computed for a generation, at least 12 per candidate.
        exploration: factor on how far a draw from the model strays from what it expects: 1 is the posterior.
        shares_pool: whether each candidate chooses among all networks that are looked at for the generation,
            and not only among its own share of them.

    Raises:
        ValueError: a value breaks its rule; the message begins with ``controller.<field>``.
    """

    name: str = "bayesian"
    num_initial: int = 16
    num_incumbents: int = 10
    num_rounds: int = 4
    num_looked_at: int = 512
    # These are younger than the first ledgers, see `IN_OLD_LEDGERS`.
    exploration: float = 0.3
    shares_pool: bool = True

    def __post_init__(self) -> None:
        for field, least in (
            ("num_initial", 2),
            ("num_incumbents", 1),
            ("num_rounds", 1),
            ("num_looked_at", 1),
        ):
            if getattr(self, field) < least:
                raise ValueError(f"controller.{field}: must be at least {least}, got {getattr(self, field)}")
        if not 0 <= self.exploration < math.inf:
            raise ValueError(
                f"controller.exploration: must be finite and not negative, got {self.exploration}"
            )

    def build(self, space: DecisionSpace, *, seed: int) -> BayesianController:
        """The strategy in its initial state."""
        return BayesianController(space, seed=seed, settings=self)


# What ledgers older than a setting did.
IN_OLD_LEDGERS: Mapping[str, Any] = {"exploration": 1.0, "shares_pool": False}


class BayesianController:
    """Each candidate is the best network that is found by a function of its own, drawn from the model.

    Args:
        space: what to choose from.
        seed: the run's seed.
        settings: see `BayesianSettings`.
    """

    def __init__(self, space: DecisionSpace, *, seed: int, settings: BayesianSettings | None = None) -> None:
        self._space = space
        self._seed = seed
        self._settings = settings or BayesianSettings()
        self._draws = Draws(space, seed)
        self._results = Results(space)

    @property
    def arguments(self) -> dict[str, Any]:
        """The seed, and the fields of `BayesianSettings`, name included."""
        return {"seed": self._seed, **asdict(self._settings)}

    def suggest(self, count: int, *, given: Sequence[tuple[int, ...]] = ()) -> list[Suggestion]:
        """The next ``count`` candidates."""
        if len(self._results.rewards) < self._settings.num_initial:
            return self._draws.suggest(count, given, self._uniform)
        rngs = self._draws.rngs.next(count, len(given))
        begun = self._draws.proposed.given(given)
        model = self._results.model()
        incumbents = self._incumbents(model)
        believed = [
            Suggestion(tokens=s.tokens, info=_belief(model, self._results.features_of(s.tokens)))
            for s in begun
        ]
        groups = [rngs] if self._settings.shares_pool else [[rng] for rng in rngs]
        found = [s for group in groups for s in self._best_of_draws(model, incumbents, count, group)]
        return [*believed, *found]

    def update(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """Take in a generation's results.

        Returns:
            ``prediction_error``, the root of the mean squared difference of predicted and true rewards, of
            candidates that a prediction was made for; nothing without any.
        """
        rollouts, rewards = scored(rollouts)
        errors = []
        for rollout, reward in zip(rollouts, rewards, strict=True):
            self._results.add(rollout.trial, rollout.tokens, reward)
            if "prediction" in rollout.info:
                errors.append(reward - rollout.info["prediction"])
        return {"prediction_error": float(np.sqrt(np.mean(np.square(errors))))} if errors else {}

    def state_dict(self) -> dict[str, Any]:
        """All results, what was proposed, and how much."""
        return {**self._results.state_dict(), "draws": self._draws.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self._results.load_state_dict(state)
        self._draws.load_state_dict(state["draws"])

    def _incumbents(self, model: Ridge) -> list[int]:
        """The results with the best expected rewards: a lucky one is not among them for its luck."""
        expected, _ = model.predict(as_tensor(self._results.features))
        return expected.argsort(descending=True, stable=True)[: self._settings.num_incumbents].tolist()

    def _best_of_draws(
        self, model: Ridge, incumbents: Sequence[int], count: int, rngs: Sequence[np.random.Generator]
    ) -> list[Suggestion]:
        """The best new network by a draw from the model, for each candidate.

        They are mutated from incumbents and from random ones, and from the best of those by the draw.

        Args:
            model: of the reward.
            incumbents: see `_incumbents`.
            count: candidates of the whole generation.
            rngs: of these candidates.
        """
        settings = self._settings
        weights = [model.draw(rng, settings.exploration) for rng in rngs]
        looked_at = max(_LEAST_LOOKED_AT, settings.num_looked_at // count)
        per_round = max(1, looked_at // settings.num_rounds)
        pool = _Pool(
            {
                self._results.tokens[i]: (self._results.trials[i], self._results.features[i])
                for i in incumbents
            }
        )
        for rng in rngs:
            for _ in range(max(1, per_round // 4)):
                tokens = self._space.sample(rng)
                pool.add(tokens, None, self._results.features_of)
        for _ in range(settings.num_rounds):
            for rng, parents in zip(rngs, pool.ranked(weights, settings.num_incumbents), strict=True):
                for _ in range(per_round):
                    parent = parents[int(rng.integers(len(parents)))]
                    pool.add(self._space.mutate(parent, rng), pool.trial(parent), self._results.features_of)
        suggestions = []
        for ranked in pool.ranked(weights):
            tokens = next((t for t in ranked if self._draws.proposed.take(t)), ranked[0])
            parent_trial, features = pool.trial(tokens), pool.features(tokens)
            parent_of = {} if parent_trial is None else {"parent": parent_trial}
            suggestions.append(Suggestion(tokens=tokens, info={**parent_of, **_belief(model, features)}))
        return suggestions

    def _uniform(self, rng: np.random.Generator) -> Suggestion:
        return Suggestion(tokens=self._space.sample(rng))


class _Pool:
    """Networks that were looked at, in this order.

    Args:
        incumbents: trial and features by choices.
    """

    def __init__(self, incumbents: Mapping[Tokens, tuple[int | None, Features]]) -> None:
        self._members = dict(incumbents)

    def add(self, tokens: Tokens, trial: int | None, features_of: Callable[[Tokens], Features]) -> None:
        """Add a network, unless it is there, with the trial that it descends from."""
        if tokens not in self._members:
            self._members[tokens] = (trial, features_of(tokens))

    def trial(self, tokens: Tokens) -> int | None:
        """The trial that a member descends from."""
        return self._members[tokens][0]

    def features(self, tokens: Tokens) -> Features:
        """Those of a member."""
        return self._members[tokens][1]

    def ranked(self, weights: Sequence[Tensor], count: int | None = None) -> list[list[Tokens]]:
        """For each draw of weights the members, the best first; the first ``count`` of them."""
        from spinesearch.controller.one_thread import single_threaded

        members, sequences = as_tensor([f for _, f in self._members.values()]), list(self._members)
        with single_threaded():
            orders = [(members @ w).argsort(descending=True, stable=True)[:count] for w in weights]
        return [[sequences[i] for i in order.tolist()] for order in orders]


def _belief(model: Ridge, features: Features) -> dict[str, float]:
    """What goes on record of a candidate."""
    mean, spread = model.predict(as_tensor([features]))
    return {"prediction": round(float(mean), 6), "spread": round(float(spread), 6)}
