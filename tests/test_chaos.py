"""`make chaos` with a few faults, so that it runs when it is needed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHAOS = Path(__file__).parents[1] / "benchmarks" / "engine" / "chaos.py"


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the faults need Linux"),
]


@pytest.mark.faults
def test_three_faults_are_survived():
    check_survived(3)


def test_the_simplest_fault_is_survived():
    """Where nobody injects faults for weeks, the benchmark's stand-ins must not fall behind the search."""
    check_survived(1)


def check_survived(number: int) -> None:
    """Inflict so many faults, and check that the ledger ends as an undisturbed one's."""
    result = subprocess.run(
        [sys.executable, str(CHAOS), str(number), "--seed", "1"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (counts,) = (line.split() for line in result.stdout.splitlines() if line.startswith("all "))
    assert counts == ["all", str(number), str(number)]
