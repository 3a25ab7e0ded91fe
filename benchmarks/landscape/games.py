"""One strategy against one landscape: `play`, and `play_table` on recorded candidates alone.

Proposals and updates alternate as in a search: `spinesearch.search.loop.generations` counts them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from judges import Judge, Rung, SpaceView
from recorded import Landscape
from surrogate import Array

from spinesearch.controller import Controller, Rollout, Suggestion
from spinesearch.controller.strategies import ControllerSettings
from spinesearch.search.loop.generations import Generations

NUM_LATE = 50  # the candidates last trained, whose mean says where a strategy has come to


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """What a search found; all values are noise-free.

    Attributes:
        best: of the candidate with the highest reward so far, after each whole training's worth ``[N]``.
        counts: how many candidates there were by then ``[N]``; without rungs as many as trainings.
        values: of each candidate.
        duplicates: whether each had been proposed before.
    """

    best: list[float]
    counts: list[int]
    values: list[float]
    duplicates: list[bool]


def play(
    settings: ControllerSettings,
    judge: Judge,
    view: SpaceView,
    *,
    generation_size: int,
    lag: int,
    num_trials: int,
    seed: int,
    rung: Rung | None = None,
) -> Course:
    """The course of a search of ``num_trials`` whole trainings' worth, whose rewards a judge gives."""
    controller = settings.build(view, seed=seed)

    def value(tokens: Sequence[Sequence[int]]) -> Array:
        return judge.means(np.array([view.all_features(tuple(row)) for row in tokens]))

    def rewards(values: Array, arch_ids: Sequence[str], at: Rung | None = None) -> list[float]:
        return judge.rewards(values, arch_ids, seed, at)

    return _course(controller, view, value, rewards, generation_size, lag, num_trials, rung)


def play_table(
    settings: ControllerSettings,
    landscape: Landscape,
    view: SpaceView,
    *,
    generation_size: int,
    lag: int,
    num_trials: int,
    seed: int,
) -> Course:
    """The course of a search that may try recorded candidates only; their mean scores are the rewards."""
    metric = landscape.heads[0]["reward_metric"]
    scores = landscape.scores(metric)
    table = dict(zip(scores.tokens, np.nanmean(scores.values, axis=1).tolist(), strict=True))
    controller = FromTable(
        settings.build(view, seed=seed), view, list(table), is_blind=settings.name == "random", seed=seed
    )

    def value(tokens: Sequence[Sequence[int]]) -> Array:
        return np.array([table[tuple(row)] for row in tokens])

    def rewards(values: Array, arch_ids: Sequence[str], at: Rung | None = None) -> list[float]:
        found: list[float] = values.tolist()
        return found

    return _course(controller, view, value, rewards, generation_size, lag, num_trials)


def _course(
    controller: Controller,
    view: SpaceView,
    value: Any,
    rewards: Any,
    generation_size: int,
    lag: int,
    num_trials: int,
    rung: Rung | None = None,
) -> Course:
    size = generation_size
    generations = Generations(
        controller, view, generation_size=size, lag=lag, num_trials=None if rung else num_trials
    )
    values: list[float] = []
    whole: list[float] = []  # rewards of whole trainings
    spent: list[float] = []  # whole trainings' worth when each candidate had its reward
    duplicates: list[bool] = []
    while (not spent or spent[-1] < num_trials) and generations.advance():
        new = generations.candidates[len(values) : None if rung else num_trials]
        means = value([candidate.tokens for candidate in new])
        arch_ids = [candidate.arch_id for candidate in new]
        told = rewards(means, arch_ids)
        goes_on = np.ones(len(new), dtype=bool)
        begun = spent[-1] if spent else 0.0
        if rung:
            first = np.array(rewards(means, arch_ids, rung))
            goes_on = first.argsort(kind="stable").argsort() >= len(new) - round(rung.share * len(new))
            told = np.where(goes_on, told, first).tolist()
            cost = rung.length * len(new) + (1 - rung.length) * int(goes_on.sum())
            spent += [begun + cost] * len(new)
        else:
            spent += [begun + n for n in range(1, len(new) + 1)]
        for arch_id, reward, is_whole in zip(arch_ids, told, goes_on, strict=True):
            duplicates.append(arch_id in generations.rewards)
            kept = generations.rewards.setdefault(arch_id, reward)
            whole.append(kept if is_whole else -np.inf)
        values += means.tolist()
    leaders = np.maximum.accumulate(whole)
    first_told = {reward: i for i, reward in reversed(list(enumerate(whole)))}
    counts = np.searchsorted(spent, np.arange(1, num_trials + 1), side="right")
    counts = counts.clip(min=size if rung else 1)  # what the first generation found stands for its beginning
    return Course(
        best=[values[first_told[leaders[count - 1]]] for count in counts],
        counts=counts.tolist(),
        values=values,
        duplicates=duplicates,
    )


class FromTable:
    """A strategy that may only propose what is left of a table: a `Controller`.

    A copy of the strategy is shown all that is left, as choices that somebody else made. If it has
    predictions of them, the highest are taken, each moved by a draw of its spread where it has one;
    if it has log-probabilities, candidates are drawn without return in proportion; if it has neither, the
    nearest to what it proposes, by its own figures. The strategy itself is then given what was taken.

    Args:
        strategy: in its initial state.
        view: the space as it sees it.
        table: choices of every candidate that there is.
        is_blind: whether it takes what it gets, as random search does.
        seed: of the draws.
    """

    def __init__(
        self,
        strategy: Controller,
        view: SpaceView,
        table: Sequence[tuple[int, ...]],
        *,
        is_blind: bool,
        seed: int,
    ) -> None:
        self._strategy = strategy
        self._view = view
        self._left = list(table)
        self._is_blind = is_blind
        self._rng = np.random.default_rng([seed, 1])
        figures = np.array([view.features(tokens) for tokens in table])
        self._scale = np.maximum(figures.std(axis=0), 1e-9)

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The strategy's."""
        return self._strategy.arguments

    def suggest(self, count: int, *, given: Sequence[tuple[int, ...]] = ()) -> list[Suggestion]:
        """The next of what is left; fewer new ones than asked for at the table's end."""
        chosen = self._choose(count)
        taken = [self._left[i] for i in chosen]
        self._left = [tokens for i, tokens in enumerate(self._left) if i not in chosen]
        return self._strategy.suggest(count, given=taken)

    def _choose(self, count: int) -> list[int]:
        count = min(count, len(self._left))
        if self._is_blind:
            return [int(i) for i in self._rng.permutation(len(self._left))[:count]]
        asked = copy.deepcopy(self._strategy, {id(self._view): self._view})
        said = asked.suggest(len(self._left), given=self._left)
        noise = self._rng.standard_normal(len(said))
        if all("prediction" in s.info for s in said):
            scores = np.array([s.info["prediction"] for s in said])
            scores += noise * np.array([s.info.get("spread", 0.0) for s in said])
        elif all(s.log_probs is not None for s in said):
            scores = np.array([sum(s.log_probs or ()) for s in said]) + self._rng.gumbel(size=len(said))
        else:
            return self._nearest(count)
        return [int(i) for i in np.argsort(-scores, kind="stable")[:count]]

    def _nearest(self, count: int) -> list[int]:
        asked = copy.deepcopy(self._strategy, {id(self._view): self._view})
        left = np.array([self._view.features(tokens) for tokens in self._left]) / self._scale
        found: list[int] = []
        for suggestion in asked.suggest(count):
            distances = np.abs(left - np.array(self._view.features(suggestion.tokens)) / self._scale).sum(
                axis=1
            )
            distances[found] = np.inf
            found.append(int(distances.argmin()))
        return found

    def update(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """Let the strategy learn."""
        return self._strategy.update(rollouts)

    def state_dict(self) -> dict[str, Any]:
        """The strategy's state, what is left and where chance stands."""
        state = {"strategy": self._strategy.state_dict(), "left": list(self._left)}
        return {**state, "rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self._strategy.load_state_dict(state["strategy"])
        self._left = list(state["left"])
        self._rng.bit_generator.state = state["rng"]
