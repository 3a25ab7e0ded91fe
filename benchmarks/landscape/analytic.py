"""Rewards that are known functions of a network's figures: `AnalyticLandscapes`.

They show whether a strategy finds what is there to be found; whether real rewards look like them is another
question, which only recorded ones answer (`surrogate.py`). Each is in standard deviations of the uniform
sampler, about its mean; `NOISE_SD` of noise makes one training's intraclass correlation .86, which is the
default reward's in docs/reward-noise.md.

``cross-scale links``  connections that span two levels or more: the more the better.
``short ways``         blocks on the shortest way from the image, mean over the outputs: the fewer the better.
``fine ways``          parents' and finest way's levels at P3, P4 and P5: the finer the better.
``middling cost``      log multiply-adds: best at one standard deviation above the mean, worse on both sides.
``mixture of four``    the mean of these four.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spinesearch.space import SearchSpace
from spinesearch.space.features import FEATURE_NAMES

Array = np.ndarray[Any, np.dtype[np.float64]]

ICC = 0.86
NOISE_SD = math.sqrt(1 / ICC - 1)
NUM_SAMPLES = 2000  # of the uniform sampler, that set the scale

_COLUMN = {name: i for i, name in enumerate(FEATURE_NAMES)}
_CROSS_SCALE = [f"L{a} to L{b}" for a in range(1, 8) for b in range(1, 8) if abs(a - b) > 1]
_SHORT = [f"P{level} shortest path" for level in (3, 4, 5, 6, 7)]
_FINE = [f"P{level} {what}" for level in (3, 4, 5) for what in ("finest parent", "finest way")]


class AnalyticLandscapes:
    """The rewards of all analytic landscapes at once.

    Args:
        space: the space; its uniform sampler sets the scale.
        seed: of the samples.
    """

    names = ("cross-scale links", "short ways", "fine ways", "middling cost", "mixture of four")

    def __init__(self, space: SearchSpace, *, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        x = np.array([space.features(space.sample(rng)) for _ in range(NUM_SAMPLES)])
        cost = x[:, _COLUMN["log multiply-adds"]]
        self._best_cost = float(cost.mean() + cost.std())
        parts = self._parts(x)
        self._means, self._deviations = parts.mean(axis=1), parts.std(axis=1)
        self._mixture_sd = float(self._standardised(x).mean(axis=0).std())

    def __call__(self, figures: Sequence[Sequence[float]] | Array) -> Mapping[str, Array]:
        """Noise-free rewards ``[N]`` by name, of figures ``[N, F]``."""
        parts = self._standardised(np.asarray(figures, dtype=np.float64))
        return dict(zip(self.names, [*parts, parts.mean(axis=0) / self._mixture_sd], strict=True))

    def _standardised(self, x: Array) -> Array:
        """The first four, ``[4, N]``."""
        deviations = np.maximum(self._deviations[:, None], 1e-9)
        standardised: Array = (self._parts(x) - self._means[:, None]) / deviations
        return standardised

    def _parts(self, x: Array) -> Array:
        def total(names: list[str]) -> Array:
            sums: Array = x[:, [_COLUMN[name] for name in names]].sum(axis=1)
            return sums

        cost = x[:, _COLUMN["log multiply-adds"]]
        return np.array(
            [total(_CROSS_SCALE), -total(_SHORT), -total(_FINE), -((cost - self._best_cost) ** 2)]
        )
