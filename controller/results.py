"""What a model of the reward learns from: `Results`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spinesearch.controller.protocol import DecisionSpace

if TYPE_CHECKING:
    from torch import Tensor

    from spinesearch.controller.ridge import Ridge

Features = np.ndarray[Any, np.dtype[np.float32]]

# How far below the median the model takes a reward to be at most, in distances between the quartiles: some
# three standard deviations. How much worse a failure is says nothing of how rewards vary.
_MAX_QUARTILES = 2.2


class Results:
    """All results so far, with the features of their networks.

    Args:
        space: describes networks.

    Attributes:
        trials: their numbers.
        tokens: their choices.
        features: what the model sees of them.
        rewards: theirs.
    """

    def __init__(self, space: DecisionSpace) -> None:
        self._space = space
        self.trials: list[int] = []
        self.tokens: list[tuple[int, ...]] = []
        self.features: list[Features] = []
        self.rewards: list[float] = []

    def add(self, trial: int, tokens: tuple[int, ...], reward: float) -> None:
        """Take in one."""
        self.trials.append(trial)
        self.tokens.append(tokens)
        self.features.append(self.features_of(tokens))
        self.rewards.append(reward)

    def features_of(self, tokens: Sequence[int]) -> Features:
        """What the model sees of a network."""
        return np.array(self._space.features(tokens), dtype=np.float32)

    def model(self) -> Ridge:
        """The posterior given all results, of which failures count as very bad ones and no worse."""
        from spinesearch.controller.ridge import Ridge

        low, middle, high = np.quantile(self.rewards, (0.25, 0.5, 0.75))
        least = middle - _MAX_QUARTILES * (high - low) if high > low else -np.inf
        return Ridge.fit(as_tensor(self.features), np.maximum(self.rewards, least).tolist())

    def state_dict(self) -> dict[str, Any]:
        """Everything, as plain data and tensors."""
        import torch

        return {
            "trials": list(self.trials),
            "tokens": torch.tensor(self.tokens, dtype=torch.int16),
            "features": torch.from_numpy(np.array(self.features, dtype=np.float32)),
            "rewards": list(self.rewards),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self.trials = list(state["trials"])
        self.tokens = [tuple(row) for row in state["tokens"].tolist()]
        self.features = list(state["features"].numpy())
        self.rewards = list(state["rewards"])


def as_tensor(features: Sequence[Features]) -> Tensor:
    """float64 [n, d]."""
    import torch

    return torch.from_numpy(np.array(features, dtype=np.float64))
