"""How far two settings rank alike: rank correlations over architectures, all or the best half of them.

Shapes: N architectures, R resamples; ``counts`` and scores as in `spinesearch.results.studies.resamples`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from spinesearch.results.studies.resamples import Floats, Interval, bootstrap, interval_of

_ALMOST_ONE = 0.999  # Fisher's scale has no place for 1


class Correlation(NamedTuple):
    """A rank correlation and its interval, over architectures or over architectures and images."""

    value: float
    interval: Interval


def kendall_tau(
    x: Floats, y: Floats, *, redrawn: tuple[Floats, Floats] | None = None, among_best: bool = False
) -> Correlation | None:
    """Kendall's tau-b of the pairs, `[N]` each; None with fewer than three, or if either is constant.

    tau-b is ``(concordant - discordant) / sqrt(untied in x * untied in y)``, counted over pairs of pairs
    (Kendall 1945).

    Args:
        x: of one side.
        y: of the other.
        redrawn: x and y on draws of the images, `[R, N]` each, or `[1, N]` of what no draw changes. The
            interval is then over architectures and images.
        among_best: of the half of the pairs with the greater y alone, a middle one included. Every resample
            has its own half.
    """
    tau = partial(tau_b, among_best=among_best)
    return _correlation(tau, x, y, redrawn, least=5 if among_best else 3)


def tau_b(counts: Floats, x: Floats, y: Floats, *, among_best: bool = False) -> Floats:
    """Kendall's tau-b of each resample, `[R]`; NaN where it is not defined. See `kendall_tau`."""
    if among_best:
        counts = upper_half(counts, y)
    signs_x, signs_y = (np.sign(v[:, :, None] - v[:, None, :]) for v in (x, y))
    agreement, untied_x, untied_y = (
        ((counts[:, None, :] @ signs)[:, 0] * counts).sum(axis=1)
        for signs in (signs_x * signs_y, np.abs(signs_x), np.abs(signs_y))
    )
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample of one architecture alone
        return np.asarray(agreement / np.sqrt(untied_x * untied_y))


def upper_half(counts: Floats, y: Floats) -> Floats:
    """How often the half with the greatest y of each resample holds each architecture, `[R, N]`.

    Of an odd number the middle one belongs to it; of equal y the earlier comes first.
    """
    order = np.broadcast_to(np.argsort(-y, axis=1, kind="stable"), counts.shape)
    ordered = np.take_along_axis(counts, order, axis=1)
    room = np.ceil(counts.sum(axis=1, keepdims=True) / 2) - (ordered.cumsum(axis=1) - ordered)
    kept = np.zeros_like(counts)
    np.put_along_axis(kept, order, np.clip(room, 0, ordered), axis=1)
    return kept


def spearman_rho(x: Floats, y: Floats, *, redrawn: tuple[Floats, Floats] | None = None) -> Correlation | None:
    """Spearman's rho of the pairs, `[N]` each, ties at their mean rank; None as `kendall_tau`."""

    def rho(counts: Floats, x: Floats, y: Floats) -> Floats:
        total = counts.sum(axis=1, keepdims=True)
        deviations = []
        for v in (x, y):
            places = np.where(v[:, :, None] == v[:, None, :], 0.5, v[:, :, None] < v[:, None, :])
            rank = (counts[:, None, :] @ places)[:, 0]  # up to a constant
            deviations.append(rank - (counts * rank).sum(axis=1, keepdims=True) / total)
        a, b = deviations
        covariance, variance_a, variance_b = (
            (counts * product).sum(axis=1) for product in (a * b, a * a, b * b)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(covariance / np.sqrt(variance_a * variance_b))

    return _correlation(rho, x, y, redrawn)


def _correlation(
    statistic: Callable[..., Floats],
    x: Floats,
    y: Floats,
    redrawn: tuple[Floats, Floats] | None,
    least: int = 3,
) -> Correlation | None:
    if len(x) < least or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    value = float(statistic(np.ones((1, len(x))), x[None], y[None])[0])
    if not math.isfinite(value):  # a constant upper half
        return None
    if redrawn is None:
        return Correlation(value, interval_of(bootstrap(statistic, x[None], y[None])))
    # Scores on drawn images have the noise of images twice, so that they agree less than those at hand do;
    # what is asked is how far studies spread, so the resamples are moved to the estimate, on Fisher's scale.
    drawn = _fisher(bootstrap(statistic, *redrawn))
    low, high = np.tanh(interval_of(drawn) + _fisher(np.array(value)) - np.median(drawn))
    return Correlation(value, Interval(float(low), float(high)))


def _fisher(correlations: Floats) -> Floats:
    return np.arctanh(np.clip(correlations, -_ALMOST_ONE, _ALMOST_ONE))
