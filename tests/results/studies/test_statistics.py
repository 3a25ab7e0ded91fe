"""Against published tables, scipy's values, definitions written out, and simulations of known truth."""

import itertools
import math

import numpy as np
import pytest

from spinesearch.results.studies.rank_correlation import kendall_tau, spearman_rho
from spinesearch.results.studies.statistics import (
    f_quantiles,
    mean_icc,
    same_seed_icc,
    seeds_needed,
    variance_components,
)

# Shrout and Fleiss 1979, table 2: six targets, four judges.
SHROUT_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def simulated(rng, *, archs: int, seeds: int, icc: float) -> list[list[float]]:
    effects = math.sqrt(icc) * rng.standard_normal((archs, 1))
    return (effects + math.sqrt(1 - icc) * rng.standard_normal((archs, seeds))).tolist()


def test_the_published_example():
    """Their ICC(1,1) is .17, ICC(1,4) .44 and ICC(3,1) .71; mean squares 11.24 between and 6.26 within."""
    found = variance_components(SHROUT_FLEISS)
    assert (round(found.icc, 2), round(mean_icc(found.icc, 4), 2)) == (0.17, 0.44)
    assert round(found.within, 2) == 6.26
    assert round(4 * found.between + found.within, 2) == 11.24
    assert round(same_seed_icc(np.array(SHROUT_FLEISS, dtype=float)), 2) == 0.71
    assert not found.is_clamped


def test_groups_of_different_sizes_by_hand():
    """Means 2, 6, 10 of 2, 3, 1 values, 16/3 of all; SSW 10 on 3, SSB 136/3 on 2; n0 (6 - 14/6) / 2."""
    found = variance_components([[1, 3], [], [4, 6, 8], [10]])
    assert found.within == pytest.approx(10 / 3)
    assert found.between == pytest.approx((136 / 3 / 2 - 10 / 3) / (11 / 6))
    assert found.icc == pytest.approx(found.between / (found.between + found.within))
    assert (found.num_groups, found.num_values, found.mean) == (3, 6, 6.0)


def test_the_estimates_are_right_on_average_whatever_is_missing():
    """300 studies of 12 x 4 with variances 9 and 1, a third of the trainings lost at random."""
    rng = np.random.default_rng(0)
    between, within = [], []
    for _ in range(300):
        table = 3 * rng.standard_normal((12, 1)) + rng.standard_normal((12, 4))
        kept = [row[rng.random(4) > 1 / 3].tolist() for row in table]
        found = variance_components(kept)
        between.append(found.between)
        within.append(found.within)
    # Standard errors are about 9 * sqrt(2 / 11 / 300) = 0.22 and sqrt(2 / 20 / 300) = 0.018.
    assert np.mean(between) == pytest.approx(9, abs=0.7)
    assert np.mean(within) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("icc", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("archs", [4, 12])
def test_the_interval_holds_the_truth_as_often_as_the_documentation_says(archs: int, icc: float):
    """95 times in 100 or more of normal architectures; the standard error of 150 studies is 1.8 %."""
    rng = np.random.default_rng(1)
    num_hits, width = 0, 0.0
    for _ in range(150):
        low, high = variance_components(simulated(rng, archs=archs, seeds=4, icc=icc)).interval
        num_hits += low <= icc <= high
        width += (high - low) / 150
    assert num_hits / 150 >= 0.91
    if archs == 12:
        assert width < {0.0: 0.4, 0.3: 0.65, 0.9: 0.35}[icc]


@pytest.mark.parametrize(
    ("above", "below", "quantile"),
    [
        (1, 1, 647.79),
        (1, 2, 38.51),
        (4, 5, 7.39),
        (5, 4, 9.36),
        (10, 10, 3.72),
        (12, 30, 2.41),
        (60, 120, 1.53),
    ],
)
def test_quantiles_of_f_as_in_printed_tables(above: int, below: int, quantile: float):
    """The 97.5th percentile; the 2.5th of one order is the inverse of the 97.5th of the other."""
    (found,) = f_quantiles(above, below, (0.975,))
    assert found == pytest.approx(quantile, rel=1e-3, abs=0.005)
    (low,) = f_quantiles(below, above, (0.025,))
    assert low == pytest.approx(1 / found, rel=2e-3)


def test_the_interval_is_never_narrower_than_that_of_normal_architectures():
    """Means 1..5 of two values, 1 apart: mean squares 5 and 0.5, F 10 on 4 and 5 degrees of freedom."""
    low, high = variance_components([[i - 0.5, i + 0.5] for i in range(1, 6)]).interval
    assert low <= (10 / 7.388 - 1) / (10 / 7.388 + 1) + 1e-3
    assert high >= (10 * 9.364 - 1) / (10 * 9.364 + 1) - 1e-3


def test_less_spread_than_seeds_alone_make_is_no_spread():
    found = variance_components([[1, 3], [3, 1], [2, 2.5]])
    assert found.is_clamped
    assert (found.between, found.icc) == (0.0, 0.0)
    assert same_seed_icc(np.array([[1, 3], [3, 1], [2.0, 2.0]])) == 0.0


def test_what_has_no_verdict():
    assert variance_components([]) is None
    assert variance_components([[1, 2]]) is None
    assert variance_components([[1], [2], [3]]) is None
    constant = variance_components([[5, 5], [5, 5]])
    assert (constant.icc, constant.interval, constant.mean) == (None, None, 5.0)
    assert same_seed_icc(np.array([[1.0, np.nan], [1.0, 2.0]])) is None
    assert same_seed_icc(np.full((3, 3), 2.0)) is None


def test_architecture_alone_and_seed_alone():
    rows = np.arange(5.0)[:, None]
    alone = variance_components(np.repeat(rows, 3, axis=1).tolist())
    assert (alone.icc, alone.within) == (1.0, 0.0)
    assert alone.interval == (1.0, 1.0)
    # What a seed adds to every architecture is noise between seeds, and none within one.
    shifted = rows + np.array([0.0, 10.0, -10.0])
    assert variance_components(shifted.tolist()).icc < 0.1
    assert same_seed_icc(shifted) == pytest.approx(1.0)


def test_unit_and_origin_do_not_matter():
    rng = np.random.default_rng(2)
    groups = simulated(rng, archs=7, seeds=3, icc=0.5)
    found = variance_components(groups)
    other = variance_components([[40 - 3 * value for value in group] for group in groups])
    assert other.icc == pytest.approx(found.icc)
    assert other.interval == pytest.approx(found.interval)
    assert other.between == pytest.approx(9 * found.between)


def test_seeds_needed_are_enough_and_no_more():
    assert [seeds_needed(icc, 0.9) for icc in (0.5, 0.72, 0.9, 1.0, 0.0)] == [9, 4, 1, 1, None]
    for icc, target in np.random.default_rng(3).uniform(0.01, 0.99, (1000, 2)):
        needed = seeds_needed(icc, target)
        assert mean_icc(icc, needed) >= target - 1e-9
        assert needed == 1 or mean_icc(icc, needed - 1) < target


def brute_tau(x: list[float], y: list[float]) -> float:
    signs = [
        (np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in itertools.combinations(range(len(x)), 2)
    ]
    untied = [sum(s != 0 for s in column) for column in zip(*signs, strict=True)]
    return sum(a * b for a, b in signs) / math.sqrt(untied[0] * untied[1])


def brute_rho(x: list[float], y: list[float]) -> float:
    def ranks(values: list[float]) -> list[float]:
        return [
            1 + sum(other < v for other in values) + (sum(other == v for other in values) - 1) / 2
            for v in values
        ]

    return np.corrcoef(ranks(x), ranks(y))[0, 1]


def test_rank_correlations_by_hand():
    """1..5 against 1 3 2 5 4: 8 pairs agree and 2 do not; squared differences of ranks sum to 4."""
    x, y = np.arange(1.0, 6.0), np.array([1.0, 3.0, 2.0, 5.0, 4.0])
    assert kendall_tau(x, y).value == pytest.approx((8 - 2) / 10)
    assert spearman_rho(x, y).value == pytest.approx(1 - 6 * 4 / (5 * 24))


def test_rank_correlations_with_ties_as_scipy_has_them():
    x = np.array([0.118, 0.056, 0.055, 0.147, 0.066, 0.118, 0.064, 0.29])
    y = np.array([0.31, 0.2, 0.2, 0.33, 0.28, 0.31, 0.35, 0.36])
    assert kendall_tau(x, y).value == pytest.approx(0.6793662204867574)  # scipy 1.17.1 kendalltau
    assert spearman_rho(x, y).value == pytest.approx(0.7515289538265388)  # scipy 1.17.1 spearmanr


def test_rank_correlations_by_definition():
    """100 random cases, most with ties."""
    rng = np.random.default_rng(4)
    num_checked = 0
    while num_checked < 100:
        x, y = rng.integers(0, rng.integers(2, 30), (2, rng.integers(3, 20))).astype(float)
        if np.ptp(x) == 0 or np.ptp(y) == 0:
            assert kendall_tau(x, y) is None
            assert spearman_rho(x, y) is None
            continue
        assert kendall_tau(x, y).value == pytest.approx(brute_tau(x.tolist(), y.tolist()))
        assert spearman_rho(x, y).value == pytest.approx(brute_rho(x.tolist(), y.tolist()))
        num_checked += 1


@pytest.mark.parametrize("r", [0.0, 0.5, 0.8])
def test_intervals_of_rank_correlations_hold_the_truth(r: float):
    """Of a bivariate normal with correlation r: tau 2/pi asin r, rho 6/pi asin r/2; 16 architectures."""
    rng = np.random.default_rng(5)
    hits = np.zeros(2)
    for _ in range(150):
        x, e = rng.standard_normal((2, 16))
        y = r * x + math.sqrt(1 - r * r) * e
        truths = 2 / math.pi * math.asin(r), 6 / math.pi * math.asin(r / 2)
        for i, (found, truth) in enumerate(zip((kendall_tau(x, y), spearman_rho(x, y)), truths, strict=True)):
            assert found.interval.low <= found.value <= found.interval.high
            hits[i] += found.interval.low <= truth <= found.interval.high
    assert (hits / 150 >= 0.9).all()
    assert (hits / 150 < 1).all()


def test_too_few_to_correlate():
    assert kendall_tau(np.array([1.0, 2.0]), np.array([1.0, 2.0])) is None


def test_a_report_is_the_same_every_time():
    groups = simulated(np.random.default_rng(6), archs=6, seeds=2, icc=0.5)
    assert variance_components(groups) == variance_components(groups)


def test_draws_of_the_images_only_widen_the_interval_of_the_icc():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(12, 1)) + 0.5 * rng.normal(size=(12, 3))
    table[3, 1:] = np.nan
    table[5] = np.nan
    groups = [row[np.isfinite(row)].tolist() for row in table]
    plain = variance_components(groups)
    same = variance_components(groups, np.tile(table, (1000, 1, 1)))
    noisy = variance_components(groups, table + 0.8 * rng.normal(size=(1000, *table.shape)))
    assert plain is not None
    assert same is not None
    assert noisy is not None
    assert (same.icc, noisy.icc) == (plain.icc, plain.icc)
    assert same.interval == pytest.approx(plain.interval, abs=0.03)
    assert noisy.interval[0] < plain.interval[0]
    assert noisy.interval[1] >= plain.interval[1]
