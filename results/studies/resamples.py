"""Bootstrap intervals of a study's statistics.

Shapes: N architectures, R resamples. ``counts`` `[R, N]` says how often a resample holds each architecture;
all ones is the sample itself, so that a statistic is written once for both. Scores are `[R, N]` where each
resample has its own, from a draw of the held-out images, and `[1, N]` where all have the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_NUM_RESAMPLES = 4000
_BLOCK = 500  # resamples at a time, which bounds the memory
_MAX_PAIRS = 4_000_000  # of architectures in a block, for the same
TAILS = (0.025, 0.975)  # of a 95 % interval


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


def bootstrap(statistic: Callable[..., Floats], *scores: Floats) -> Floats:
    """A statistic of architectures drawn with replacement, the defined values; always the same ones.

    Args:
        statistic: of counts and scores.
        scores: `[R, N]`, or `[1, N]` if no resample has its own; one R for all.
    """
    num_groups = scores[0].shape[1]
    num_own = max(len(score) for score in scores)
    num = _NUM_RESAMPLES if num_own == 1 else num_own
    size = _BLOCK if num_own == 1 else max(1, min(_BLOCK, _MAX_PAIRS // num_groups**2))
    counts = _resamples(num_groups)[:num]
    found = []
    for begin in range(0, num, size):
        rows = slice(begin, begin + size)
        own = (score if len(score) == 1 else score[rows] for score in scores)
        found.append(statistic(counts[rows].astype(np.float64), *own))
    values = np.concatenate(found)
    return np.asarray(values[np.isfinite(values)])


def interval_of(values: Floats) -> Interval:
    """The percentile interval."""
    low, high = np.quantile(values, TAILS)
    return Interval(float(low), float(high))


@lru_cache(maxsize=1)
def _resamples(num_groups: int) -> npt.NDArray[np.uint16]:
    """How often each resample holds each group, `[R, N]`: the same for every metric of a report."""
    shares = np.full(num_groups, 1 / num_groups)
    return np.random.default_rng(0).multinomial(num_groups, shares, size=_NUM_RESAMPLES).astype(np.uint16)
