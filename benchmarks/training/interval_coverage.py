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

from spinesearch.results.studies.rank_correlation import kendall_tau
from spinesearch.results.studies.resamples import Floats, Interval
from spinesearch.results.studies.statistics import variance_components

_NUM_ARCHS = (4, 8, 12, 16, 32)
_NUM_SEEDS = 4
_ICCS = (0.0, 0.3, 0.6, 0.9)
_TAUS = (0.0, 0.3, 0.6, 0.8)

# Of mean 0 and variance 1. With the exponential, a few architectures are far better than the rest.
_EFFECTS: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "normal": lambda rng, num: rng.standard_normal(num),
    "exponential": lambda rng, num: rng.exponential(size=num) - 1,
}


def main() -> None:
    """Print a table per distribution of the ICC's interval, and one of tau's."""
    num_studies = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    started = time.process_time()
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    print(f"numpy {np.__version__}, {time.strftime('%Y-%m-%d')}; {num_studies} studies a cell")
    for name in _EFFECTS:
        rows = [[_icc_cell(name, num_archs, icc, num_studies) for icc in _ICCS] for num_archs in _NUM_ARCHS]
        _print_table(f"{name} architectures x {_NUM_SEEDS} seeds", [f"ICC {icc}" for icc in _ICCS], rows)
    rows = [[_tau_cell(num_archs, tau, num_studies) for tau in _TAUS] for num_archs in _NUM_ARCHS]
    _print_table("bivariate normal scores", [f"tau {tau}" for tau in _TAUS], rows)
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


def _cell(intervals: Sequence[Interval], truth: float) -> str:
    """Share of the intervals that contain the true value, and their mean width."""
    num_hits = sum(low <= truth <= high for low, high in intervals)
    width = np.mean([high - low for low, high in intervals])
    return f"{100 * num_hits / len(intervals):.0f} % ({width:.2f})"


def _print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print(f"\n{title}\n")
    print("| architectures |", " | ".join(columns), "|")
    print("|---|" + "---|" * len(columns))
    for num_archs, row in zip(_NUM_ARCHS, rows, strict=True):
        print(f"| {num_archs} |", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()
