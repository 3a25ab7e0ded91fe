"""What the benchmark of the strategies rewards with: `Judge`, of every landscape, and what a strategy sees.

A reward is the judge's noise-free mean of the network and noise that depends on network and seed alone, as
one training's is. Analytic landscapes are reported in standard deviations and given to strategies as APs.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from analytic import NOISE_SD, AnalyticLandscapes
from recorded import Landscape, LandscapeError
from surrogate import (
    JUDGE_COLUMNS,
    STRATEGY_COLUMNS,
    Array,
    Noise,
    figures_and_scores,
    seed_noise,
    trees,
)

from spinesearch.space import SearchSpace

SURROGATE = "surrogate"
# A mean of .2 and a spread of .05 are near what rewards of random architectures have in docs/reward-noise.md:
# strategies hold settings that are meant for such rewards.
_AP_MEAN, _AP_SD = 0.2, 0.05


class SpaceView:
    """A space whose candidates show a strategy its half of the figures; all else is the space's own.

    Args:
        space: the space.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.all_features = lru_cache(maxsize=20_000)(space.features)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.space, name)

    def features(self, tokens: Sequence[int]) -> tuple[float, ...]:
        """Every second figure of `spinesearch.space.features`."""
        figures = self.all_features(tuple(tokens))
        return tuple(figures[i] for i in STRATEGY_COLUMNS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """A place in a training at which the best of a generation go on, as rewards show it.

    Attributes:
        length: of the training so far, as a share of the whole.
        share: of a generation that goes on.
        noise: standard deviation of a reward's noise there, in that of a whole training.
        lost: how much lower rewards are there, in the same unit.
    """

    length: float = 1 / 3
    share: float = 1 / 3
    noise: float = 2.0
    lost: float = 2.5


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A landscape as a source of rewards.

    Attributes:
        name: what tables call it.
        means: noise-free values ``[N]`` of figures ``[N, F]``.
        noise_sd: in the same unit.
        ap_per_unit: what a unit is worth to a strategy.
        ap_at_zero: what a value of zero is worth.
    """

    name: str
    means: Callable[[Array], Array]
    noise_sd: float
    ap_per_unit: float = 1.0
    ap_at_zero: float = 0.0

    def rewards(
        self, means: Array, arch_ids: Sequence[str], seed: int, at: Rung | None = None
    ) -> list[float]:
        """Rewards that a search receives for networks of these noise-free values, whole or at a rung."""
        place = [seed] if at is None else [seed, 1]
        rngs = (np.random.default_rng([*place, zlib.crc32(arch_id.encode())]) for arch_id in arch_ids)
        noise = np.array([rng.standard_normal() for rng in rngs])
        if at is not None:
            noise = at.noise * noise - at.lost
        rewards: list[float] = (self.ap_at_zero + self.ap_per_unit * (means + noise * self.noise_sd)).tolist()
        return rewards


def analytic_judges(space: SearchSpace) -> list[Judge]:
    """One judge for each analytic landscape."""
    landscapes = AnalyticLandscapes(space)

    def judge(name: str) -> Judge:
        return Judge(
            name=name,
            means=lambda figures: landscapes(figures)[name],
            noise_sd=NOISE_SD,
            ap_per_unit=_AP_SD,
            ap_at_zero=_AP_MEAN,
        )

    return [judge(name) for name in AnalyticLandscapes.names]


def recorded_noise(landscape: Landscape) -> Noise | None:
    """The noise of the recorded metric; None if it is not known."""
    return seed_noise(landscape.scores(landscape.heads[0]["reward_metric"]).values)


def surrogate_judge(landscape: Landscape) -> Judge:
    """Trees on the judge's half of the figures, in AP, with the recorded noise.

    Raises:
        LandscapeError: the noise is not known.
    """
    metric = landscape.heads[0]["reward_metric"]
    x, y = figures_and_scores(landscape, metric)
    noise = recorded_noise(landscape)
    if noise is None:
        raise LandscapeError(
            "landscape: at least four networks need several seeds, for the surrogate's noise; record "
            "`spinesearch proxy variance` and collect it, or leave out --landscapes surrogate"
        )
    model = trees()
    columns = list(JUDGE_COLUMNS)
    model.fit(x[:, columns], y)
    return Judge(name=SURROGATE, means=lambda figures: model.predict(figures[:, columns]), noise_sd=noise.sd)
