"""Benchmarks take minutes to run; that they can be begun is seen in seconds."""

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.stem)
def test_a_benchmark_has_all_that_it_imports(path: Path, monkeypatch):
    """A module of a package by its whole name: `search` of `sections` would be another package's."""
    in_package = (path.parent / "__init__.py").exists()
    names = [path.parent.name] if in_package else []
    names += [path.stem] if path.stem != "__init__" else []
    monkeypatch.syspath_prepend(path.parents[1] if in_package else path.parent)
    assert importlib.import_module(".".join(names)).__doc__
