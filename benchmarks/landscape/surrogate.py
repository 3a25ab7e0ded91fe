"""A model of the recorded rewards: `trees`, how well it predicts, and how much of a reward is noise.

Randomised trees on the figures of `spinesearch.space.features`. It knows only what was recorded: between
recorded networks it interpolates, better than the best of them it can predict nothing (a tree's answer is a
mean of scores on record), and its answers are drawn towards the middle. So a strategy that finds what lies
outside the record gains nothing here, and one that is good at finding what resembles it gains too much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from recorded import Landscape
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import KFold

from spinesearch.results.studies.rank_correlation import Correlation, kendall_tau
from spinesearch.results.studies.statistics import variance_components
from spinesearch.space.features import FEATURE_NAMES

Array = np.ndarray[Any, np.dtype[np.float64]]

NUM_TREES = 200
NUM_FOLDS = 10
# Every second figure is a judge's, the others are for the strategies that it judges: both halves see blocks,
# connections, shapes and outputs, and no column is in both.
STRATEGY_COLUMNS = tuple(range(0, len(FEATURE_NAMES), 2))
JUDGE_COLUMNS = tuple(range(1, len(FEATURE_NAMES), 2))


class Model(Protocol):
    """What scikit-learn calls a regressor."""

    def fit(self, x: Array, y: Array) -> Any:
        """Learn rows of figures ``[N, F]`` and their scores ``[N]``."""

    def predict(self, x: Array) -> Array:
        """Scores ``[N]`` of rows of figures."""


def trees(seed: int = 0) -> Model:
    """Extremely randomised trees (Geurts et al. 2006), a third of the figures tried at each split."""
    model: Model = ExtraTreesRegressor(
        NUM_TREES, min_samples_leaf=2, max_features=1 / 3, random_state=seed, n_jobs=1
    )
    return model


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """How well a model predicts candidates that it has not seen.

    Attributes:
        tau: Kendall's tau-b of prediction and score; None where one is constant.
        top_tau: the same among the upper half by score.
        r2: share of the scores' variance that is explained.
        residual_sd: standard deviation of score less prediction.
    """

    tau: Correlation | None
    top_tau: Correlation | None
    r2: float
    residual_sd: float


def cross_validated(x: Array, y: Array, *, model: Callable[[], Model] = trees, seed: int = 0) -> Fit:
    """Ten-fold cross-validation, shuffled by ``seed``; every row is predicted once, by a model without it."""
    predicted = np.empty_like(y)
    for train, test in KFold(min(NUM_FOLDS, len(y)), shuffle=True, random_state=seed).split(x):
        fitted = model()
        fitted.fit(x[train], y[train])
        predicted[test] = fitted.predict(x[test])
    residuals = y - predicted
    top = y >= np.median(y)
    return Fit(
        tau=kendall_tau(predicted, y),
        top_tau=kendall_tau(predicted[top], y[top]),
        r2=1 - float(residuals.var() + residuals.mean() ** 2) / float(y.var()),
        residual_sd=float(residuals.std()),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """What a training's seed does to a score, from architectures with several.

    Attributes:
        sd: standard deviation over the seeds of one architecture.
        sd_low: of the lower half of those architectures, by mean.
        sd_high: of the upper half, where a search's decisions fall.
        icc: share of one score's variance that is the architecture's.
        num_archs: architectures with several seeds.
    """

    sd: float
    sd_low: float
    sd_high: float
    icc: float | None
    num_archs: int


def seed_noise(values: Array) -> Noise | None:
    """The noise in scores ``[N, S]``, NaN where there is none; None with fewer than four repeated rows."""
    rows = [row[np.isfinite(row)] for row in values]
    rows = sorted((row for row in rows if len(row) > 1), key=lambda row: float(row.mean()))
    found = variance_components([row.tolist() for row in rows])
    halves = [variance_components([row.tolist() for row in part]) for part in _halves(rows)]
    if len(rows) < 4 or found is None or halves[0] is None or halves[1] is None:
        return None
    low, high = (float(np.sqrt(half.within)) for half in halves if half is not None)
    return Noise(
        sd=float(np.sqrt(found.within)), sd_low=low, sd_high=high, icc=found.icc, num_archs=len(rows)
    )


def _halves(rows: Sequence[Array]) -> Iterator[Sequence[Array]]:
    yield rows[: len(rows) // 2]
    yield rows[len(rows) // 2 :]


def figures_and_scores(landscape: Landscape, metric: str = "ap") -> tuple[Array, Array]:
    """Figures ``[N, F]`` of every scored architecture and the mean of its scores over the seeds ``[N]``."""
    scores, space = landscape.scores(metric), landscape.space
    return np.array([space.features(tokens) for tokens in scores.tokens]), np.nanmean(scores.values, axis=1)
