"""Drawing candidates that were not proposed before: `Proposed`, `CandidateRngs`, and both as `Draws`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from spinesearch.controller.protocol import DecisionSpace, Suggestion, candidate_rng

Draw = Callable[[np.random.Generator], Suggestion]

# Draws per candidate: a strategy whose proposals are nine times out of ten old still finds a new one nearly
# always (1 - .9^50 = .995), and one that has nothing new to propose ends in a moment.
_MAX_DRAWS = 50


class Proposed:
    """Which networks were proposed, so that none is proposed twice.

    Args:
        space: distinguishes networks.
    """

    def __init__(self, space: DecisionSpace) -> None:
        self._space = space
        self._identities: dict[str, None] = {}  # in order, so that equal states are written alike

    def take(self, tokens: Sequence[int]) -> bool:
        """Take a network down; whether it may be proposed and had not been."""
        identity = self._space.identity(tokens)
        if identity is None or identity in self._identities:
            return False
        self._identities[identity] = None
        return True

    def given(self, sequences: Sequence[tuple[int, ...]]) -> list[Suggestion]:
        """Candidates that somebody else has chosen; they are taken down."""
        for tokens in sequences:
            self.take(tokens)
        return [Suggestion(tokens=tokens) for tokens in sequences]

    def new(self, draw: Draw, rng: np.random.Generator) -> Suggestion:
        """The first of some draws that is new, taken down; without one, the last."""
        for _ in range(_MAX_DRAWS):
            suggestion = draw(rng)
            if self.take(suggestion.tokens):
                break
        return suggestion

    def state_dict(self) -> list[str]:
        """All that were proposed."""
        return list(self._identities)

    def load_state_dict(self, state: Iterable[str]) -> None:
        """Continue from a `state_dict`."""
        self._identities = dict.fromkeys(state)


class CandidateRngs:
    """Random numbers of a strategy's candidates: those of candidate i depend on (seed, i) alone.

    Args:
        seed: the run's seed.

    Attributes:
        num_suggested: how many candidates have had theirs.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.num_suggested = 0

    def next(self, count: int, num_given: int = 0) -> list[np.random.Generator]:
        """Generators of the next ``count`` candidates, without those of the first, which are given."""
        numbers = range(self.num_suggested, self.num_suggested + count)[num_given:]
        self.num_suggested += count
        return [candidate_rng(self._seed, number) for number in numbers]


class Draws:
    """The next candidates of a strategy: each has random numbers of its own, and none is an old network.

    Args:
        space: distinguishes networks.
        seed: the run's seed.

    Attributes:
        proposed: the networks so far.
        rngs: of the candidates.
    """

    def __init__(self, space: DecisionSpace, seed: int) -> None:
        self.proposed = Proposed(space)
        self.rngs = CandidateRngs(seed)

    def suggest(self, count: int, given: Sequence[tuple[int, ...]], draw: Draw) -> list[Suggestion]:
        """The next ``count`` candidates: those that are given, and drawn ones."""
        rngs = self.rngs.next(count, len(given))
        return [*self.proposed.given(given), *(self.proposed.new(draw, rng) for rng in rngs)]

    def state_dict(self) -> dict[str, Any]:
        """What was proposed, and how many candidates."""
        return {"proposed": self.proposed.state_dict(), "num_suggested": self.rngs.num_suggested}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self.proposed.load_state_dict(state["proposed"])
        self.rngs.num_suggested = state["num_suggested"]
