"""A strategy of your own: mutate the best network so far, or draw a random one.

    python examples/own_strategy.py [key=value ...]

The search, its ledger and its workers are those of `spinesearch search`; only the controller is from
here. With a line in `controller/strategies.py` and a yaml it has a name on the command line, and its
runs can be resumed (docs/strategy-howto.md).
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from spinesearch.controller import DecisionSpace, Rollout, Suggestion
from spinesearch.controller.protocol import candidate_rng
from spinesearch.search.config.run_config import compose, run_config
from spinesearch.search.session import search


@dataclass(frozen=True, kw_only=True)
class GreedySettings:
    """What a `Greedy` is built with."""

    name: str = "greedy"
    random_share: float = 0.2  # of candidates that are drawn anew

    def build(self, space: DecisionSpace, *, seed: int) -> "Greedy":
        """The strategy before it has seen anything."""
        return Greedy(space, seed, self)


class Greedy:
    """Mutates the best network so far."""

    def __init__(self, space: DecisionSpace, seed: int, settings: GreedySettings) -> None:
        self._space, self._seed, self._settings = space, seed, settings
        self._num_suggested = 0
        self._best: tuple[float, tuple[int, ...]] | None = None

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What distinguishes it from others."""
        return {"seed": self._seed, **asdict(self._settings)}

    def suggest(self, count: int, *, given: Sequence[tuple[int, ...]] = ()) -> list[Suggestion]:
        """Candidate i is drawn with a generator of its own, so that a resumed search proposes the same."""
        found = [Suggestion(tokens=tokens) for tokens in given]
        for i in range(self._num_suggested + len(given), self._num_suggested + count):
            rng = candidate_rng(self._seed, i)
            if self._best is None or rng.random() < self._settings.random_share:
                found.append(Suggestion(tokens=self._space.sample(rng)))
            else:
                found.append(Suggestion(tokens=self._space.mutate(self._best[1], rng)))
        self._num_suggested += count
        return found

    def update(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """Keep the best; candidates without a reward teach nothing."""
        for rollout in rollouts:
            if rollout.reward is not None and (self._best is None or rollout.reward > self._best[0]):
                self._best = rollout.reward, rollout.tokens
        return {} if self._best is None else {"best": self._best[0]}

    def state_dict(self) -> dict[str, Any]:
        """All that decides later answers."""
        best = None if self._best is None else [self._best[0], list(self._best[1])]
        return {"num_suggested": self._num_suggested, "best": best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._num_suggested = state["num_suggested"]
        best = state["best"]
        self._best = None if best is None else (best[0], tuple(best[1]))


def main(settings: Sequence[str]) -> None:
    """Search with it."""
    config = replace(run_config(compose(["name=greedy", *settings])), controller=GreedySettings())
    run = search(config, Path(config.runs_dir) / "greedy", Console())
    for trial in run.trials:
        print(f"trial {trial.trial}: reward {trial.reward}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:  # bad input, which its one line explains
        sys.exit(str(error))
