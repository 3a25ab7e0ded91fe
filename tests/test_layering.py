"""Imports run one way, and light commands stay light (docs/architecture.md)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Which of our packages each package may import, besides itself.
MAY_IMPORT = {
    "space": set(),
    "models": {"space"},
    "proxy_task": {"space", "models", "data", "training"},
    "controller": set(),
    "results": {"space", "models"},
    "search": {"space", "models", "proxy_task", "controller", "results"},
    "conf": set(),
}


def imported_names(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write spinesearch.*"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_run_one_way(package: str):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        for name in imported_names(path):
            head, *rest = name.split(".")
            assert head not in MAY_IMPORT, f"{path}: import spinesearch.{name}: {head} makes a second copy"
            if head == "spinesearch" and rest and rest[0] in MAY_IMPORT:
                assert rest[0] in MAY_IMPORT[package] | {package}, f"{path} imports {name}"


def test_every_package_is_linked_and_mapped():
    for package in MAY_IMPORT:
        assert (ROOT / "src/spinesearch" / package).resolve() == ROOT / package
    pyproject = (ROOT / "pyproject.toml").read_text()
    for package in MAY_IMPORT:
        assert f'"{package}" = "spinesearch/{package}"' in pyproject


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import spinesearch.space", {"torch", "ray", "hydra", "rich"}),
        ("import spinesearch", {"torch", "ray", "hydra", "rich", "numpy"}),
        ("import spinesearch.results.ledger.run, spinesearch.results.export", {"torch", "ray", "hydra"}),
        (
            "import spinesearch.controller.settings, spinesearch.proxy_task.settings",
            {"torch", "ray", "hydra"},
        ),
        ("import spinesearch.cli.main", {"torch", "ray", "hydra", "rich", "numpy"}),
        ("import spinesearch.search.config.run_config", {"torch", "ray"}),
        ("import spinesearch.search.loop.loop", {"ray", "hydra", "torch"}),
    ],
)
def test_imports_stay_light(code: str, heavy: set[str]):
    script = f"{code}; import sys; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not heavy & set(result.stdout.split())


def test_no_class_exists_twice():
    """`import space` from the root would make a second BlockSpec that is no instance of the first."""
    doubled = {name for name in MAY_IMPORT if name in sys.modules and name not in ("conf",)}
    assert not doubled
