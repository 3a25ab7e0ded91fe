"""Imports run one way, between packages and between their rooms, and light commands stay light.

Every import counts: those inside functions and under ``TYPE_CHECKING`` too (docs/architecture.md).
"""

import ast
import functools
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Which of our packages each package may import, besides itself.
MAY_IMPORT = {
    "cli": {"search", "proxy_task", "training", "models", "results", "data", "controller", "space"},
    "search": {"proxy_task", "training", "data", "models", "results", "controller", "space"},
    "proxy_task": {"training", "data", "models", "space"},
    "training": {"data", "models", "space"},
    "results": {"models", "data", "space"},
    "models": {"data", "space"},
    "data": set(),
    "space": set(),
    "controller": set(),
    "conf": set(),
}
# The rooms of a package, the lowest first: none imports one that stands after it. Modules beside the rooms
# may be below them (search/environment.py) or above (search/session.py); no circle arises, see below.
FLOORS = {
    "controller": ["policies"],
    "search": [
        "config",
        "scoring",
        "loop",
        "runs",
        "watchers",
        "workers",
        "study",
        "estimate",
        "training",
        "reproduce",
    ],
    "training": ["process", "targets", "input", "optim", "measure", "step", "run"],
    "results": ["ledger", "drawing", "studies", "export", "report"],
    "models": ["heads", "mask_rcnn", "weights", "adapters"],
    "data": ["coco", "classes", "drawn", "pack", "split"],
    "space": ["arch", "cost"],
}
# What no file of a room imports, wherever in it.
FREE_OF = {
    "data": {"torch", "ray", "hydra"},
    "space": {"torch", "ray", "hydra"},
    "controller": {"ray", "hydra"},
    "training": {"ray", "hydra"},
    "proxy_task": {"ray", "hydra"},
    "results": {"ray", "hydra"},
    "results/ledger": {"torch"},
    "results/drawing": {"torch"},
    "results/report": {"torch"},
    "results/studies": {"torch"},
    "search/config": {"torch", "ray"},
    "search/loop": {"ray", "hydra"},
    "search/scoring": {"ray", "hydra"},
    "search/runs": {"torch", "ray", "hydra"},
    "search/study": {"torch", "ray", "hydra"},
}
# Every import that docs/ has shown; code written after them keeps working.
DOCUMENTED = """
from spinesearch import build_backbone, build_detector, load_backbone, load_detector, load_tf_weights
from spinesearch import load_weights, save_weights
from spinesearch.controller.reinforce import ReinforceController
from spinesearch.models.detector import build_detector
from spinesearch.models.tf_weights import load_tf_weights, tf_variables
from spinesearch.models.weights import load_backbone, load_detector, load_weights, save_weights
from spinesearch.search.tune_searcher import SpineSearcher
from spinesearch.space import ArchSpec, SpineNetSpace, backbone_cost
from spinesearch.space.cost import backbone_cost, detector_cost
from spinesearch.space.published import PUBLISHED, published
"""


@functools.cache
def imported_names(path: Path) -> frozenset[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write spinesearch.*"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def our_files(room: str) -> list[Path]:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    return files


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_run_one_way(package: str):
    for path in our_files(package):
        for name in imported_names(path):
            head, *rest = name.split(".")
            assert head not in MAY_IMPORT, f"{path}: import spinesearch.{name}: {head} makes a second copy"
            if head == "spinesearch" and rest and rest[0] in MAY_IMPORT:
                assert rest[0] in MAY_IMPORT[package] | {package}, f"{path} imports {name}"


@pytest.mark.parametrize("package", FLOORS)
def test_rooms_stand_on_floors(package: str):
    floors = FLOORS[package]
    assert sorted(floors) == sorted(path.parent.name for path in (ROOT / package).glob("*/__init__.py"))
    for floor, room in enumerate(floors):
        for path in our_files(f"{package}/{room}"):
            for name in imported_names(path):
                above = re.match(rf"spinesearch\.{package}\.({'|'.join(floors[floor + 1 :]) or '-'})\b", name)
                assert not above, f"{path} imports {name}, which stands above it"


def test_no_circle_of_files():
    modules = {
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): path
        for package in MAY_IMPORT
        for path in our_files(package)
    }
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        names = {name.removeprefix("spinesearch.") for name in imported_names(path)}
        found = {name if name in modules else name.rpartition(".")[0] for name in names}
        graph[module] = found & set(modules) - {module}
    graphlib.TopologicalSorter(graph).prepare()  # raises a CycleError that names the circle


@pytest.mark.parametrize("room", FREE_OF)
def test_rooms_stay_free(room: str):
    for path in our_files(room):
        heavy = {name.partition(".")[0] for name in imported_names(path)} & FREE_OF[room]
        assert not heavy, f"{path} imports {heavy}"


def test_folders_and_modules_are_small():
    for package in MAY_IMPORT:
        for folder in {path.parent for path in our_files(package)}:
            names = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
            assert len(names) <= 14, f"{folder} has {len(names)} modules; a newcomer has to find his room"
        for path in our_files(package):
            num_lines = len(path.read_text().splitlines())
            assert num_lines <= 300, f"{path} has {num_lines} lines; a reader would find two rooms there"


def test_documented_imports_stay():
    lines = DOCUMENTED.split("\n")
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        lines += re.findall(r"^from spinesearch.* import [\w, ]+$", page.read_text(), re.MULTILINE)
    exec("\n".join(lines), {})


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
            "import spinesearch.controller.strategies, spinesearch.proxy_task.settings",
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
