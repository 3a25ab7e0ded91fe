"""Which tests run beside each other, for `make test` with its two processes, and where their time goes."""

import os
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

# Where there is no GPU Triton interprets its kernels, if the variable is set before it is imported.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")

pytest_plugins = ["data_fixtures", "landscape_runs", "run_fixtures"]


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Accept the settings in pyproject.toml where pytest alone is installed, as on a machine with a GPU."""
    if not pluginmanager.hasplugin("timeout"):
        parser.addini("timeout", "of a test, in seconds; without pytest-timeout nothing reads it")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that need Ray come first, the others in their order."""
    items.sort(key=lambda item: not _needs_ray(item.path))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadfile`` what needs Ray counts as one file, as two Rays would crowd two cores.

    pytest-xdist's own groups would say so too, but 3.8 writes them where pytest 9.2 does not read them.
    """
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "ray" if _needs_ray(config.rootpath / file) else file

    return ByFile(config, log)


@cache
def _needs_ray(path: Path) -> bool:
    """Whether a test in the file is marked so, or takes one of the fixtures that start a Ray."""
    return re.search(r"mark\.ray\b|\b(cluster|ray_scorer)[,)]", path.read_text(encoding="utf-8")) is not None


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
