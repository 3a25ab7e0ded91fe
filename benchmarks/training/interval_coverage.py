"""How often the intervals of `spinesearch proxy` contain the true value: the tables of docs/reward-noise.md.

python benchmarks/training/interval_coverage.py [NUM_STUDIES]
"""

from __future__ import annotations

import math
import platform
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from spinesearch.data.parallel import processor_name
from spinesearch.results.studies.image_draws import NUM_DRAWS
from spinesearch.results.studies.rank_correlation import kendall_tau, tau_b
from spinesearch.results.studies.resamples import Floats, Interval
from spinesearch.results.studies.statistics import variance_components

_NUM_ARCHS = (4, 8, 12, 16, 32)
_NUM_SEEDS = 4
_ICCS = (0.0, 0.3, 0.6, 0.9)
_TAUS = (0.0, 0.3, 0.6, 0.8)
_NUM_IMAGES = 50
_IMAGE_NOISE = 0.4  # sd of an architecture's score by its images, where the architectures have 1
_NUM_FOR_TRUTH = 400

# Of mean 0 and variance 1. With the exponential, a few architectures are far better than the rest.
_EFFECTS: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "normal": lambda rng, num: rng.standard_normal(num),
    "exponential": lambda rng, num: rng.exponential(size=num) - 1,
}


def main() -> None:
    """Print a table per distribution of the ICC's interval, and one of tau's."""
    num_studies = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    started = time.process_time()
    print(f"{processor_name()}, Python {platform.python_version()}")
    print(f"numpy {np.__version__}, {time.strftime('%Y-%m-%d')}; {num_studies} studies a cell")
    for name in _EFFECTS:
        rows = [[_icc_cell(name, num_archs, icc, num_studies) for icc in _ICCS] for num_archs in _NUM_ARCHS]
        _print_table(f"{name} architectures x {_NUM_SEEDS} seeds", [f"ICC {icc}" for icc in _ICCS], rows)
    rows = [[_tau_cell(num_archs, tau, num_studies) for tau in _TAUS] for num_archs in _NUM_ARCHS]
    _print_table("bivariate normal scores", [f"tau {tau}" for tau in _TAUS], rows)
    few = max(5, num_studies // 10)  # each counts a thousand draws of images
    for kind in _IMAGE_EFFECTS:
        for among_best in (False, True):
            rows = [[_drawn_cell(kind, n, tau, few, among_best) for tau in _TAUS] for n in _NUM_ARCHS[3:]]
            half = ", upper half" if among_best else ""
            title = f"{few} studies, {_NUM_IMAGES} images of {kind}{half}: truth, then what holds it"
            _print_table(title, [f"tau {tau}" for tau in _TAUS], rows, _NUM_ARCHS[3:])
    print(f"\n{time.process_time() - started:.0f} s of processor time")


def _icc_cell(effects: str, num_archs: int, icc: float, num_studies: int) -> str:
    rng = np.random.default_rng(0)
    intervals = []
    for _ in range(num_studies):
        architectures = math.sqrt(icc) * _EFFECTS[effects](rng, num_archs)[:, None]
        scores = architectures + math.sqrt(1 - icc) * rng.standard_normal((num_archs, _NUM_SEEDS))
        components = variance_components(scores.tolist())
        assert components is not None
        assert components.interval is not None
        intervals.append(components.interval)
    return _cell(intervals, icc)


def _tau_cell(num_archs: int, tau: float, num_studies: int) -> str:
    rng = np.random.default_rng(0)
    correlation = math.sin(math.pi * tau / 2)  # that of the bivariate normal with this tau
    intervals = []
    for _ in range(num_studies):
        x, noise = rng.standard_normal((2, num_archs))
        found = kendall_tau(x, correlation * x + math.sqrt(1 - correlation**2) * noise)
        assert found is not None
        intervals.append(found.interval)
    return _cell(intervals, tau)


def _drawn_cell(kind: str, num_archs: int, tau: float, num_studies: int, among_best: bool) -> str:
    """Coverage of the mean tau of such studies, each of other architectures and other images."""
    rng = np.random.default_rng(0)
    scores = [_drawn_study(rng, kind, num_archs, tau) for _ in range(_NUM_FOR_TRUTH)]
    a, b = (np.array([study[side].mean(axis=1) for study in scores]) for side in (0, 1))
    truth = float(tau_b(np.ones((len(a), num_archs)), a, b, among_best=among_best).mean())
    shares = np.full(_NUM_IMAGES, 1 / _NUM_IMAGES)
    intervals = []
    for study in scores[:num_studies]:
        weights = rng.multinomial(_NUM_IMAGES, shares, size=NUM_DRAWS) / _NUM_IMAGES
        redrawn = weights @ study[0].T, weights @ study[1].T
        a, b = (side.mean(axis=1) for side in study)
        found = kendall_tau(a, b, redrawn=redrawn, among_best=among_best)
        assert found is not None
        intervals.append(found.interval)
    return f"{truth:.2f}: {_cell(intervals, truth)}"


def _drawn_study(rng: np.random.Generator, kind: str, num_archs: int, tau: float) -> list[Floats]:
    """Scores of two sides on the same images: two of `[N, I]`."""
    correlation = math.sin(math.pi * tau / 2)
    x, noise = rng.standard_normal((2, num_archs))
    sides = x, correlation * x + math.sqrt(1 - correlation**2) * noise
    effects = _IMAGE_EFFECTS[kind](rng, num_archs)
    return [side[:, None] + effect for side, effect in zip(sides, effects, strict=True)]


def _independent(rng: np.random.Generator, num_archs: int) -> list[Floats]:
    """What each image adds to each architecture's score, half of it on both sides: two of `[N, I]`."""
    common, *own = rng.standard_normal((3, num_archs, _NUM_IMAGES))
    return [_IMAGE_NOISE * math.sqrt(_NUM_IMAGES / 2) * (common + part) for part in own]


def _of_kinds(rng: np.random.Generator, num_archs: int) -> list[Floats]:
    """The same where images differ in one trait and architectures in how they like it: a product of two."""
    liking = rng.standard_normal((num_archs, 1))
    effect = _IMAGE_NOISE * math.sqrt(_NUM_IMAGES) * liking * rng.standard_normal(_NUM_IMAGES)
    return [effect, effect]


_IMAGE_EFFECTS: dict[str, Callable[[np.random.Generator, int], list[Floats]]] = {
    "independent effects": _independent,
    "one trait": _of_kinds,
}


def _cell(intervals: Sequence[Interval], truth: float) -> str:
    """Share of the intervals that contain the true value, and their mean width."""
    num_hits = sum(low <= truth <= high for low, high in intervals)
    width = np.mean([high - low for low, high in intervals])
    return f"{100 * num_hits / len(intervals):.0f} % ({width:.2f})"


def _print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], nums: Sequence[int] = _NUM_ARCHS
) -> None:
    print(f"\n{title}\n")
    print("| architectures |", " | ".join(columns), "|")
    print("|---|" + "---|" * len(columns))
    for num_archs, row in zip(nums, rows, strict=True):
        print(f"| {num_archs} |", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()
