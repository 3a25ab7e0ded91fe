"""When a controller proposes and when it learns, whoever scores its candidates: `Generations`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spinesearch.controller import Controller, Rollout
from spinesearch.space import SearchSpace


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A proposed architecture.

    Attributes:
        candidate: its number, from 0.
        tokens: its choices.
        log_probs: of each when it was sampled, nats, if the strategy has probabilities.
        info: what the strategy believed of it.
        arch_id: identity of the network.
    """

    candidate: int
    tokens: tuple[int, ...]
    log_probs: tuple[float, ...] | None
    info: Mapping[str, Any]
    arch_id: str


class Generations:
    """The candidates of a controller, generation by generation, and the rewards it learns from.

    Generation g is sampled after the update with generation g - 1 - lag and before any later one, as in a
    search (`ControlledCandidates`): the same rewards give the same candidates and the same controller.
    Rewards belong to networks, so a duplicate has its reward as soon as the first of its kind.

    Args:
        controller: in its initial state.
        space: turns choices into specs.
        generation_size: candidates per update.
        lag: generations that may be proposed beyond the last one learnt from.
        num_trials: candidates that will be scored; a generation that it cuts short is not learnt from. None
            for no end.

    Attributes:
        candidates: all proposed, by number.
        rewards: of networks, by ``arch_id``.
    """

    def __init__(
        self,
        controller: Controller,
        space: SearchSpace,
        *,
        generation_size: int,
        lag: int,
        num_trials: int | None,
    ) -> None:
        self.candidates: list[Candidate] = []
        self.rewards: dict[str, float] = {}
        self._controller = controller
        self._space = space
        self._generation_size = generation_size
        self._lag = lag
        self._num_trials = num_trials

    def advance(self) -> bool:
        """Propose the next generation, after the update that stands before it; whether that could be done.

        False while results that it depends on are missing, and at the end of the search.
        """
        size = self._generation_size
        # Of the generation whose update is due. The controller sees updates and generations in turn, so the
        # number of one follows from that of the other.
        first = len(self.candidates) - (1 + self._lag) * size
        if first >= 0:
            due = self.candidates[first : first + size]
            if self._num_trials is not None and first + size > self._num_trials:
                return False
            if any(candidate.arch_id not in self.rewards for candidate in due):
                return False
            self._controller.update([self._rollout(candidate) for candidate in due])
        for number, suggestion in enumerate(self._controller.suggest(size), start=len(self.candidates)):
            arch_id = self._space.decode(suggestion.tokens).arch_id
            self.candidates.append(
                Candidate(
                    candidate=number,
                    tokens=suggestion.tokens,
                    log_probs=suggestion.log_probs,
                    info=suggestion.info,
                    arch_id=arch_id,
                )
            )
        return True

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides what follows, as plain data and tensors."""
        return {
            "candidates": [asdict(candidate) for candidate in self.candidates],
            "rewards": dict(self.rewards),
            "controller": self._controller.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict` of equal arguments."""
        rows: Sequence[Mapping[str, Any]] = state["candidates"]
        self.candidates = [_candidate(row) for row in rows]
        self.rewards = dict(state["rewards"])
        self._controller.load_state_dict(state["controller"])

    def _rollout(self, candidate: Candidate) -> Rollout:
        reward = self.rewards[candidate.arch_id]
        return Rollout(
            trial=candidate.candidate,
            tokens=candidate.tokens,
            log_probs=candidate.log_probs,
            info=candidate.info,
            reward=reward,
        )


def _candidate(row: Mapping[str, Any]) -> Candidate:
    """A candidate from what JSON made of it."""
    log_probs = row["log_probs"]
    lists = {"tokens": tuple(row["tokens"]), "log_probs": None if log_probs is None else tuple(log_probs)}
    return Candidate(**{**row, **lists})
