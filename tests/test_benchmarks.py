"""Benchmarks take minutes to run; that they can be begun is seen in seconds."""

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_a_benchmark_has_all_that_it_imports(name: str, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    assert importlib.import_module(name).__doc__
