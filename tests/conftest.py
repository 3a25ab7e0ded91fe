"""Which tests run beside each other, for `make test` with its two processes, and where their time goes."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

# Where there is no GPU Triton interprets its kernels, if the variable is set before it is imported.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")

pytest_plugins = ["data_fixtures", "run_fixtures"]


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Accept the settings in pyproject.toml where pytest alone is installed, as on a machine with a GPU."""
    if not pluginmanager.hasplugin("timeout"):
        parser.addini("timeout", "of a test, in seconds; without pytest-timeout nothing reads it")


def pytest_configure(config: pytest.Config) -> None:
    """The marker that is set below, for where pytest-xdist does not bring it."""
    config.addinivalue_line("markers", "xdist_group(name): tests that run in one process")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ray's tests first and in one process, since two Rays crowd two cores; others file by file.

    pytest-xdist 3.8 writes groups where pytest 9.2 does not read them: with these two only the order holds.
    """
    items.sort(key=lambda item: not _needs_ray(item))
    for item in items:
        item.add_marker(pytest.mark.xdist_group("ray" if _needs_ray(item) else str(item.path)))


def _needs_ray(item: pytest.Item) -> bool:
    return item.get_closest_marker("ray") is not None or "cluster" in getattr(item, "fixturenames", ())


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The time per folder, so that a suite that grows slow shows where."""
    seconds: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                folder = Path(report.nodeid.partition("::")[0]).parent
                seconds["/".join(folder.parts[:3])] += report.duration
    if sum(seconds.values()) > 10:
        terminalreporter.section("seconds per folder, of all processes together")
        for folder, spent in seconds.most_common():
            terminalreporter.write_line(f"{spent:7.1f}  {folder}")
