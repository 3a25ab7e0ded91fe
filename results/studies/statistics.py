"""How far rewards repeat and settings agree: variance components, rank correlations, bootstrap intervals.

Shapes: N architectures, M seeds, R resamples. ``counts`` `[R, N]` says how often a resample holds each
architecture; all ones is the sample itself, so that a statistic is written once for both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_NUM_RESAMPLES = 4000
_BLOCK = 500  # resamples at a time, which bounds the memory
_TAILS = (0.025, 0.975)  # of a 95 % interval


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


class Components(NamedTuple):
    """What the spread of one number over architectures and seeds is made of.

    Attributes:
        num_groups: architectures with at least one value.
        num_values: values in all.
        mean: of the architectures' means.
        between: variance of the architectures, in units of the number squared, at least 0.
        within: variance of the seeds of one architecture.
        icc: ``between / (between + within)``; None where every value is the same.
        interval: of `icc`, the bootstrap's over architectures or what is wider; None where `icc` is.
        is_clamped: whether the estimate of `between` was negative and it is shown as 0.
    """

    num_groups: int
    num_values: int
    mean: float
    between: float
    within: float
    icc: float | None
    interval: Interval | None
    is_clamped: bool


class Correlation(NamedTuple):
    """A rank correlation and its interval over architectures."""

    value: float
    interval: Interval


def variance_components(groups: Sequence[Sequence[float]]) -> Components | None:
    """The components of a one-way random-effects model, from any number of values per group.

    The estimator is that of the analysis of variance: with n_i values in group i and n in all,
    ``within = SSW / (n - N)`` and ``between = (SSB / (N - 1) - within) / n0`` where
    ``n0 = (n - sum(n_i ** 2) / n) / (N - 1)``. The intraclass correlation is ICC(1) of Shrout and Fleiss
    (1979), for groups of different sizes as in Searle, Casella and McCulloch, *Variance Components*, 3.6.

    Args:
        groups: the values of each architecture; empty ones do not count.

    Returns:
        The components; None with fewer than two groups, or no group of two values.
    """
    values = [np.asarray(group, dtype=np.float64) for group in groups if len(group)]
    sizes = np.array([len(group) for group in values], dtype=np.float64)
    if len(values) < 2 or sizes.max() < 2:
        return None
    means = np.array([group.mean() for group in values])
    squares = np.array([((group - group.mean()) ** 2).sum() for group in values])

    def variances(counts: Floats) -> tuple[Floats, Floats]:
        """Between, which may be negative, and within, of each resample: two of `[R]`."""
        total = counts @ sizes
        grand = (counts * sizes) @ means / total
        with np.errstate(divide="ignore", invalid="ignore"):  # a resample of groups of one value each
            within = counts @ squares / (total - len(values))
            spread = (counts * sizes * (means - grand[:, None]) ** 2).sum(axis=1) / (len(values) - 1)
            size = (total - counts @ sizes**2 / total) / (len(values) - 1)
            return (spread - within) / size, within

    # The size of groups of equal size that would say as much of the variance between.
    size = float((sizes.sum() - (sizes**2).sum() / sizes.sum()) / (len(values) - 1))

    def resampled_icc(counts: Floats) -> Floats:
        between, within = variances(counts)
        # N architectures drawn from N with replacement spread by a factor (N - 1) / N less than those they
        # are drawn from.
        with np.errstate(divide="ignore", invalid="ignore"):
            inflated = np.maximum(between + within / size, 0) * len(values) / (len(values) - 1)
            between = np.maximum(inflated - within / size, 0)
            return np.asarray(between / (between + within))

    (raw,), (within,) = variances(np.ones((1, len(values))))
    between = max(float(raw), 0.0)
    total = between + float(within)
    icc, interval = None, None
    if total > 0:
        icc = between / total
        drawn = _bootstrap(resampled_icc, len(values))
        normal = _normal_interval(
            float(raw), float(within), size, dof=(len(values) - 1, int(sizes.sum()) - len(values))
        )
        interval = Interval(min(drawn.low, normal.low), max(drawn.high, normal.high))
    return Components(
        num_groups=len(values),
        num_values=int(sizes.sum()),
        mean=float(means.mean()),
        between=between,
        within=float(within),
        icc=icc,
        interval=interval,
        is_clamped=bool(raw < 0),
    )


def same_seed_icc(table: Floats) -> float | None:
    """Share of the architectures in the variance among values of one and the same seed.

    What a seed adds to all architectures alike is no part of that variance: ICC(3, 1) of Shrout and Fleiss
    (1979), from the two-way table. At least 0.

    Args:
        table: `[N, M]`; rows with a NaN do not count.

    Returns:
        The share; None with fewer than two complete rows or columns, or where nothing varies.
    """
    table = table[np.isfinite(table).all(axis=1)]
    num_rows, num_columns = table.shape
    if num_rows < 2 or num_columns < 2:
        return None
    rows, columns = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    residual = float(((table - rows - columns + table.mean()) ** 2).sum())
    residual /= (num_rows - 1) * (num_columns - 1)
    spread = num_columns * float(((rows - table.mean()) ** 2).sum()) / (num_rows - 1)
    total = spread + (num_columns - 1) * residual
    return max((spread - residual) / total, 0.0) if total > 0 else None


def mean_icc(icc: float, num_seeds: int) -> float:
    """The intraclass correlation of the mean over this many seeds (Spearman-Brown)."""
    return num_seeds * icc / (1 + (num_seeds - 1) * icc)


def seeds_needed(icc: float, target: float) -> int | None:
    """Seeds per architecture whose mean has at least the ``target``, in (0, 1); None if none suffices."""
    if icc <= 0:
        return None
    if icc >= 1:
        return 1
    # A hair below, so that a number of seeds that meets the target exactly is not rounded up.
    return max(1, math.ceil(target * (1 - icc) / (icc * (1 - target)) - 1e-9))


def kendall_tau(x: Floats, y: Floats) -> Correlation | None:
    """Kendall's tau-b of the pairs, `[N]` each; None with fewer than three, or if either is constant.

    tau-b is ``(concordant - discordant) / sqrt(untied in x * untied in y)``, counted over pairs of pairs
    (Kendall 1945).
    """
    signs_x, signs_y = np.sign(x[:, None] - x), np.sign(y[:, None] - y)

    def tau(counts: Floats) -> Floats:
        agreement, untied_x, untied_y = (
            ((counts @ signs) * counts).sum(axis=1)
            for signs in (signs_x * signs_y, np.abs(signs_x), np.abs(signs_y))
        )
        with np.errstate(divide="ignore", invalid="ignore"):  # a resample of one architecture alone
            return np.asarray(agreement / np.sqrt(untied_x * untied_y))

    return _correlation(tau, x, y)


def spearman_rho(x: Floats, y: Floats) -> Correlation | None:
    """Spearman's rho of the pairs, `[N]` each, ties at their mean rank; None as `kendall_tau`."""
    places_x, places_y = (np.where(v == v[:, None], 0.5, v < v[:, None]).T for v in (x, y))

    def rho(counts: Floats) -> Floats:
        total = counts.sum(axis=1, keepdims=True)
        ranks = [counts @ places for places in (places_x, places_y)]  # up to a constant
        a, b = (rank - (counts * rank).sum(axis=1, keepdims=True) / total for rank in ranks)
        covariance, variance_a, variance_b = (
            (counts * product).sum(axis=1) for product in (a * b, a * a, b * b)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(covariance / np.sqrt(variance_a * variance_b))

    return _correlation(rho, x, y)


def _correlation(statistic: Callable[[Floats], Floats], x: Floats, y: Floats) -> Correlation | None:
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    interval = _bootstrap(statistic, len(x))
    return Correlation(float(statistic(np.ones((1, len(x))))[0]), interval)


def _bootstrap(statistic: Callable[[Floats], Floats], num_groups: int) -> Interval:
    """Percentile interval of a statistic over architectures drawn with replacement; always the same one."""
    blocks = np.split(_resamples(num_groups), _NUM_RESAMPLES // _BLOCK)
    found = np.concatenate([statistic(block.astype(np.float64)) for block in blocks])
    low, high = np.quantile(found[np.isfinite(found)], _TAILS)
    return Interval(float(low), float(high))


@lru_cache(maxsize=1)
def _resamples(num_groups: int) -> npt.NDArray[np.uint16]:
    """How often each resample holds each group, `[R, N]`: the same for every metric of a report."""
    shares = np.full(num_groups, 1 / num_groups)
    return np.random.default_rng(0).multinomial(num_groups, shares, size=_NUM_RESAMPLES).astype(np.uint16)


def _normal_interval(between: float, within: float, size: float, *, dof: tuple[int, int]) -> Interval:
    """Interval of an intraclass correlation if architectures and seeds are normal.

    Few architectures drawn again and again know nothing of those that were not drawn, and where the estimate
    is 0 they all say 0. The mean squares' ratio over the true one has the F distribution, exactly for groups
    of one size (Shrout and Fleiss 1979, p. 424).

    Args:
        between: variance of the architectures, which may be negative.
        within: variance of the seeds.
        size: of the groups.
        dof: degrees of freedom between and within.
    """
    seen = math.inf if within == 0 else (size * between + within) / within
    low, high = f_quantiles(*dof, _TAILS)
    ends = (max(seen / noise, 1.0) - 1.0 for noise in (high, low))
    return Interval(*(1 - size / (size + end) for end in ends))


@lru_cache(maxsize=1)
def f_quantiles(dof_above: int, dof_below: int, shares: tuple[float, ...]) -> tuple[float, ...]:
    """Quantiles of the F distribution: the values that these ``shares`` of it lie below, in (0, 1)."""
    a, b = dof_above / 2, dof_below / 2
    # The logarithm of F a / b has a smooth density whatever a and b are: that of the odds of Beta(a, b).
    log_odds = np.linspace(-40.0, 40.0, 40_001)
    log_density = a * log_odds - (a + b) * np.logaddexp(0.0, log_odds)
    density = np.exp(log_density - log_density.max())
    share = np.cumsum(density) - density / 2
    found = np.exp(np.interp(shares, share / share[-1], log_odds)) * b / a
    return tuple(found.tolist())
