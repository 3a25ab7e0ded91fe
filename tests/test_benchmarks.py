"""Benchmarks take minutes to run; that they can be begun is seen in seconds."""

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.stem)
def test_a_benchmark_has_all_that_it_imports(path: Path, monkeypatch):
    monkeypatch.syspath_prepend(path.parent)
    assert importlib.import_module(path.stem).__doc__
