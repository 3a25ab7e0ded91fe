"""Drawing candidates that were not proposed before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from spinesearch.controller.protocol import DecisionSpace, Suggestion

Draw = Callable[[np.random.Generator], Suggestion]

# Draws per candidate: a strategy whose proposals are nine times out of ten old still finds a new one nearly
# always (1 - .9^50 = .995), and one that has nothing new to propose ends in a moment.
_MAX_DRAWS = 50


class Proposed:
    """Which networks were proposed, so that none is proposed twice.

    Args:
        space: tells networks apart.
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
