"""How far rewards repeat: variance components, their intervals, and what follows from them.

Shapes: N architectures, M seeds, R resamples; ``counts`` as in `spinesearch.results.studies.resamples`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from spinesearch.results.studies.resamples import TAILS, Floats, Interval, bootstrap, interval_of


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


def variance_components(
    groups: Sequence[Sequence[float]], redrawn: Floats | None = None
) -> Components | None:
    """The components of a one-way random-effects model, from any number of values per group.

    The estimator is that of the analysis of variance: with n_i values in group i and n in all,
    ``within = SSW / (n - N)`` and ``between = (SSB / (N - 1) - within) / n0`` where
    ``n0 = (n - sum(n_i ** 2) / n) / (N - 1)``. The intraclass correlation is ICC(1) of Shrout and Fleiss
    (1979), for groups of different sizes as in Searle, Casella and McCulloch, *Variance Components*, 3.6.

    Args:
        groups: the values of each architecture; empty ones do not count.
        redrawn: `[R, N, M]`, the same values on draws of the images, NaN where a group has none. The interval
            is then widened to that of architectures and images drawn together.

    Returns:
        The components; None with fewer than two groups, or no group of two values.
    """
    values = [np.asarray(group, dtype=np.float64) for group in groups if len(group)]
    sizes = np.array([len(group) for group in values], dtype=np.float64)
    if len(values) < 2 or sizes.max() < 2:
        return None
    means = np.array([group.mean() for group in values])
    squares = np.array([((group - group.mean()) ** 2).sum() for group in values])

    def variances(counts: Floats, means: Floats, squares: Floats) -> tuple[Floats, Floats]:
        """Between, which may be negative, and within, of each resample: two of `[R]`."""
        total = counts @ sizes
        grand = (counts * sizes * means).sum(axis=1) / total
        with np.errstate(divide="ignore", invalid="ignore"):  # a resample of groups of one value each
            within = (counts * squares).sum(axis=1) / (total - len(values))
            spread = (counts * sizes * (means - grand[:, None]) ** 2).sum(axis=1) / (len(values) - 1)
            size = (total - counts @ sizes**2 / total) / (len(values) - 1)
            return (spread - within) / size, within

    # The size of groups of equal size that would say as much of the variance between.
    size = float((sizes.sum() - (sizes**2).sum() / sizes.sum()) / (len(values) - 1))

    def resampled_icc(counts: Floats, means: Floats, squares: Floats) -> Floats:
        between, within = variances(counts, means, squares)
        # N architectures drawn from N with replacement spread by a factor (N - 1) / N less than those they
        # are drawn from.
        with np.errstate(divide="ignore", invalid="ignore"):
            inflated = np.maximum(between + within / size, 0) * len(values) / (len(values) - 1)
            between = np.maximum(inflated - within / size, 0)
            return np.asarray(between / (between + within))

    (raw,), (within,) = variances(np.ones((1, len(values))), means, squares)
    between = max(float(raw), 0.0)
    total = between + float(within)
    icc, interval = None, None
    if total > 0:
        icc = between / total
        intervals = [interval_of(bootstrap(resampled_icc, means[None], squares[None]))]
        if redrawn is not None:
            moments = _moments(redrawn[:, [len(group) > 0 for group in groups]])
            intervals.append(interval_of(bootstrap(resampled_icc, *moments)))
        normal = _normal_interval(
            float(raw), float(within), size, dof=(len(values) - 1, int(sizes.sum()) - len(values))
        )
        lows, highs = zip(*intervals, normal, strict=True)
        interval = Interval(min(lows), max(highs))
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


def _moments(tables: Floats) -> tuple[Floats, Floats]:
    """Mean of each group of `[R, N, M]`, and sum of the squared deviations from it: two of `[R, N]`."""
    is_there = np.isfinite(tables)
    values = np.where(is_there, tables, 0.0)
    means = values.sum(axis=2) / is_there.sum(axis=2)
    return means, np.where(is_there, (values - means[..., None]) ** 2, 0.0).sum(axis=2)


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
    low, high = f_quantiles(*dof, TAILS)
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
