"""`make chaos` with three faults, so that it runs when it is needed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHAOS = Path(__file__).parents[1] / "benchmarks" / "engine" / "chaos.py"


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the faults need Linux")
def test_three_faults_are_survived():
    result = subprocess.run(
        [sys.executable, str(CHAOS), "3", "--seed", "1"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (counts,) = (line.split() for line in result.stdout.splitlines() if line.startswith("all "))
    assert counts == ["all", "3", "3"]
