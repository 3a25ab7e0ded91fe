"""hotcoco beside what else runs in the process, and one that is too old."""

import os
import subprocess
import sys

import pytest

from spinesearch.training.measure import evaluators
from spinesearch.training.measure.evaluators import find_evaluator

COUNT_THREADS = """
import os
before = {**os.environ}
from spinesearch.training.measure.evaluators import _smallest_case, summary_numbers
import numpy, hotcoco
num_before = len(os.listdir("/proc/self/task"))
for _ in range(3):
    summary_numbers("hotcoco", _smallest_case(), num_threads=2)
assert {**os.environ} == before
print(len(os.listdir("/proc/self/task")) - num_before)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs /proc to count threads")
@pytest.mark.parametrize(("environment", "expected"), [({}, 2), ({"RAYON_NUM_THREADS": "5"}, 5)])
def test_hotcoco_takes_the_threads_it_is_given(environment: dict[str, str], expected: int) -> None:
    clean = {key: value for key, value in os.environ.items() if key != "RAYON_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", COUNT_THREADS], env={**clean, **environment}, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert int(done.stdout) == expected


def test_a_hotcoco_that_takes_no_arrays_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    import hotcoco

    class Older:
        pass

    evaluators._is_here.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(hotcoco, "COCO", Older)
        assert find_evaluator("auto") == "faster_coco_eval"
    evaluators._is_here.cache_clear()
