"""Bayesian linear regression: what a reward is expected to be, and how sure that is.

Shapes: n results, d features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spinesearch.controller.one_thread import single_threaded

_NUM_ITERATIONS = 30  # of the evidence; its precisions settle to a percent well before
_BOUNDS = (1e-6, 1e6)  # of both precisions, for standardised features and rewards


@dataclass(frozen=True, kw_only=True, slots=True)
class Ridge:
    """The posterior of a linear function of standardised features, in standardised rewards.

    Attributes:
        centre: means of the features [d].
        scale: what they are divided by [d].
        reward_centre: mean of the rewards.
        reward_scale: their standard deviation.
        mean: of the weights [d].
        root: a square root of their covariance, [d, d].
    """

    centre: Tensor
    scale: Tensor
    reward_centre: float
    reward_scale: float
    mean: Tensor
    root: Tensor

    @classmethod
    def fit(cls, features: Tensor, rewards: Sequence[float]) -> Ridge:
        """The posterior given results, prior and noise of the largest evidence (MacKay 1992).

        Args:
            features: float64 [n, d].
            rewards: length n, at least 2.
        """
        with single_threaded():
            scale, centre = torch.std_mean(features, dim=0, correction=0)
            scale = torch.where(scale > 1e-9, scale, 1.0)
            x = (features - centre) / scale / math.sqrt(features.shape[1])
            y = torch.tensor(rewards, dtype=torch.float64)
            reward_centre, reward_scale = float(y.mean()), float(y.std(correction=0)) or 1.0
            y = (y - reward_centre) / reward_scale
            values, vectors = torch.linalg.eigh(x.T @ x)
            values = values.clamp(min=0)
            projected = vectors.T @ (x.T @ y)
            prior, noise = 1.0, 4.0  # precisions
            for _ in range(_NUM_ITERATIONS):
                mean = noise * projected / (noise * values + prior)
                known = float((noise * values / (noise * values + prior)).sum())  # directions the data decide
                error = float((y - x @ (vectors @ mean)).square().sum())
                prior = _bounded(known / max(float(mean.square().sum()), 1e-12))
                noise = _bounded((len(y) - known) / max(error, 1e-12))
            root = vectors / (noise * values + prior).sqrt()
            return cls(
                centre=centre,
                scale=scale * math.sqrt(features.shape[1]),
                reward_centre=reward_centre,
                reward_scale=reward_scale,
                mean=vectors @ (noise * projected / (noise * values + prior)),
                root=root,
            )

    def predict(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Expected rewards [n] without noise, and their standard deviations."""
        with single_threaded():
            x = (features - self.centre) / self.scale
            spread = (x @ self.root).square().sum(dim=1).sqrt()
            return x @ self.mean * self.reward_scale + self.reward_centre, spread * self.reward_scale

    def draw(self, rng: np.random.Generator, exploration: float = 1.0) -> Tensor:
        """Weights [d] from the posterior, for features as they come: a reward up to a constant.

        Args:
            rng: where chance comes from.
            exploration: factor on their deviation from the mean.
        """
        with single_threaded():
            deviation = self.root @ torch.from_numpy(_normal(rng, len(self.mean)))
            return (self.mean + exploration * deviation) / self.scale


def _bounded(precision: float) -> float:
    return min(max(precision, _BOUNDS[0]), _BOUNDS[1])


def _normal(rng: np.random.Generator, count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Standard normal numbers by Box and Muller, from the stream that numpy keeps stable."""
    radius = np.sqrt(-2 * np.log1p(-rng.random(count)))
    return np.asarray(radius * np.cos(2 * math.pi * rng.random(count)))
