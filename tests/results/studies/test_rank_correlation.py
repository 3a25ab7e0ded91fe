"""Rank correlations over all and over the better half, on the images at hand and on draws of them."""

import numpy as np
import pytest

from spinesearch.results.studies.rank_correlation import kendall_tau, spearman_rho, upper_half


def test_the_upper_half_typed_out():
    y = np.array([[3.0, 9.0, 5.0, 7.0, 1.0]])
    whole, drawn = np.ones((1, 5)), np.array([[0.0, 2.0, 2.0, 0.0, 1.0]])
    assert upper_half(whole, y).tolist() == [[0, 1, 1, 1, 0]]  # three of five, the middle one included
    assert upper_half(drawn, y).tolist() == [[0, 2, 1, 0, 0]]  # three of five: one of the two of 5
    assert upper_half(np.ones((1, 4)), np.array([[2.0, 2.0, 2.0, 3.0]])).tolist() == [[1, 0, 0, 1]]
    own = np.array([[3.0, 9.0, 5.0, 7.0, 1.0], [9.0, 3.0, 1.0, 5.0, 7.0]])
    assert upper_half(np.ones((2, 5)), own).tolist() == [[0, 1, 1, 1, 0], [1, 0, 0, 1, 1]]


def test_tau_among_the_best_is_tau_of_them_alone():
    x, y = np.random.default_rng(0).normal(size=(2, 15))
    best = y >= np.median(y)
    among, alone = kendall_tau(x, y, among_best=True), kendall_tau(x[best], y[best])
    assert among is not None
    assert alone is not None
    assert among.value == pytest.approx(alone.value)
    assert among.interval.low < among.value < among.interval.high
    assert kendall_tau(x[:4], y[:4], among_best=True) is None
    constant = np.where(np.arange(6) < 3, np.arange(6.0), 9.0)
    assert kendall_tau(np.arange(6.0), constant, among_best=True) is None


@pytest.mark.parametrize("correlation", [kendall_tau, spearman_rho])
def test_scores_that_no_draw_changes_leave_the_interval_nearly_as_it_is(correlation):
    x, y = np.random.default_rng(1).multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]], size=30).T
    plain = correlation(x, y)
    drawn = correlation(x, y, redrawn=(np.tile(x, (1000, 1)), y[None]))
    assert drawn.value == plain.value
    assert drawn.interval == pytest.approx(plain.interval, abs=0.06)
    assert drawn == correlation(x, y, redrawn=(np.tile(x, (1000, 1)), y[None]))  # the same every time


def test_noise_of_images_widens_the_interval_and_does_not_move_it():
    rng = np.random.default_rng(2)
    x = rng.normal(size=40)
    y = x + 0.4 * rng.normal(size=40)
    plain = kendall_tau(x, y)
    noisy = kendall_tau(x, y, redrawn=tuple(v + 0.5 * rng.normal(size=(1000, 40)) for v in (x, y)))
    assert plain is not None
    assert noisy is not None
    assert noisy.value == plain.value
    assert noisy.interval.high - noisy.interval.low > plain.interval.high - plain.interval.low
    assert noisy.interval.low < plain.value < noisy.interval.high
