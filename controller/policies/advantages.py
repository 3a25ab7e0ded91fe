"""How much better than usual a reward is, and how much randomness a policy keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

# Added to the deviation that advantages are divided by. Rewards are APs in 0..1: differences well below a
# thousandth, rounding above all, stay small in the advantages too.
_MIN_DEVIATION = 1e-3
# Of the logarithm of the entropy bonus per update, where the entropy is off its target by all of it: a bonus
# that is too small by a factor of 10 has grown to what is needed after some ten updates.
_ENTROPY_RATE = 0.25
_ENT_COEFS = (1e-4, 1.0)  # bounds


class MovingBaseline:
    """A moving average of rewards and of their variance around it.

    Args:
        decay: share of the old value that an update keeps.
        max_advantage: bound on an advantage in standard deviations; None for none. Without one, the first
            good reward after a generation of equal ones counts without limit.
    """

    def __init__(self, decay: float, max_advantage: float | None) -> None:
        self._decay = decay
        self._max_advantage = math.inf if max_advantage is None else max_advantage
        self._baseline: float | None = None
        self._variance = 0.0

    def advantages(self, rewards: Sequence[float]) -> tuple[Tensor, float]:
        """Of a generation, and the baseline they refer to, which moves; the first is its own baseline."""
        values = torch.tensor(rewards, dtype=torch.float64)
        mean = float(values.mean())
        baseline = mean if self._baseline is None else self._baseline
        decay = 0.0 if self._baseline is None else self._decay
        self._baseline = decay * baseline + (1 - decay) * mean
        variance = float((values - baseline).square().mean())
        self._variance = decay * self._variance + (1 - decay) * variance
        return self.bounded((values - baseline) / self.deviation), baseline

    @property
    def deviation(self) -> float:
        """What a difference of rewards is divided by to be an advantage."""
        return math.sqrt(self._variance) + _MIN_DEVIATION

    def bounded(self, advantages: Tensor) -> Tensor:
        """Advantages within the bound."""
        return advantages.clamp(-self._max_advantage, self._max_advantage).float()

    def state_dict(self) -> dict[str, Any]:
        """Baseline and variance."""
        return {"baseline": self._baseline, "reward_variance": self._variance}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self._baseline = state["baseline"]
        self._variance = state["reward_variance"]


def next_ent_coef(ent_coef: float, entropy: float, target: float) -> float:
    """The entropy bonus after an update: more where the policy has less entropy than the target."""
    if not math.isfinite(entropy):
        return ent_coef
    least, most = _ENT_COEFS
    return min(max(ent_coef * math.exp(_ENTROPY_RATE * (1 - entropy / target)), least), most)
