"""The tests marked `gpu`, by pytest alone: files without such a test are not imported, nor other plugins."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
import torch
from check_parts import Emit, Part, table

ROOT = Path(__file__).parents[3]
_NUM_LAST_LINES = 12


def gpu_test_files() -> list[str]:
    """The test files with a test that is marked so, from the repository's root."""
    marked = (path for path in (ROOT / "tests").rglob("test_*.py") if "pytest.mark.gpu" in path.read_text())
    return sorted(str(path.relative_to(ROOT)) for path in marked)


def run(quick: bool, emit: Emit) -> None:
    """Run them, and emit how they stand after each."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    recorder = _Recorder(emit)
    code = pytest.main(
        [
            *gpu_test_files(),
            "-m",
            "gpu",
            "--override-ini=addopts=",
            "--import-mode=importlib",
            "-p",
            "no:cacheprovider",
            "--verbose",
            "-W",
            "default",  # a warning of another version of torch is no fault of the GPU's
        ],
        plugins=[recorder],
    )
    recorder.emit(f"pytest ended with {code!r}" if code not in (0, 1) else "")


class _Recorder:
    """A plugin of pytest: outcomes, failures with their last lines, and how long tests took."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._counts: Counter[str] = Counter()
        self._failures: list[tuple[str, str]] = []
        self._skips: Counter[str] = Counter()
        self._seconds: dict[str, float] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """The two that train fifty candidates last, should the time end before they do."""
        items.sort(key=lambda item: "fifty" in item.name)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be imported."""
        if report.failed:
            self._counts["failed"] += 1
            self._failures.append((report.nodeid, report.longreprtext))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test once: by its call, or by what went wrong around it."""
        self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0.0) + report.duration
        if report.when == "call" or not report.passed:
            self._counts[report.outcome] += 1
        if report.failed:
            self._failures.append((report.nodeid, report.longreprtext))
        if report.skipped and isinstance(report.longrepr, tuple):
            self._skips[report.longrepr[2].removeprefix("Skipped: ")] += 1
        if report.when == "teardown":
            self.emit()

    def emit(self, problem: str = "") -> None:
        """How the tests stand."""
        if self._failures:
            problem = problem or f"{len(self._failures)} failed"
        elif torch.cuda.is_available() and not self._counts["passed"]:
            problem = problem or "no test ran on the GPU"
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self._counts.items()))
        lines = [f"{counts or 'no test ran'}.", ""]
        lines += [f"Skipped: {reason} ({count} tests)." for reason, count in self._skips.items()]
        for name, text in self._failures:
            lines += ["", f"`{name}`:", "", "```", *text.splitlines()[-_NUM_LAST_LINES:], "```"]
        slowest = sorted(self._seconds.items(), key=lambda item: -item[1])[:5]
        lines += ["", *table(("slowest tests", "s"), ((f"`{n}`", f"{s:.1f}") for n, s in slowest))]
        values = {
            "counts": dict(self._counts),
            "failures": [{"test": name, "text": text} for name, text in self._failures],
            "seconds": self._seconds,
        }
        self._emit(Part(title="", lines=lines, values=values, problem=problem))
