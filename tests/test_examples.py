"""Every script in examples/ runs, as it would be called by somebody who tries it."""

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from spinesearch.cli.main import main

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``python examples/NAME.py ...``, in this process."""
    monkeypatch.setattr("sys.argv", [name, *arguments])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")


def test_every_example_is_tried_here():
    tested = Path(__file__).read_text()
    assert [path.stem for path in EXAMPLES.glob("*.py") if f'run("{path.stem}"' not in tested] == []


def test_a_found_backbone_in_a_detector(monkeypatch, capsys):
    run("own_detector", ["spinenet_mobile49xs"], monkeypatch)
    assert capsys.readouterr().out.startswith("100 boxes, the best at 0.")


@pytest.mark.parametrize(
    ("name", "arguments", "line"),
    [
        ("own_data", ["images"], r"usage: python examples/own_data\.py IMAGES_FOLDER ANNOTATIONS\.json"),
        ("own_data", ["images", "none.json"], r"annotation file .*none\.json: cannot be read"),
        ("object_folders", ["a", "b"], r"usage: python examples/object_folders\.py FOLDER"),
        ("own_detector", ["nobody"], "model: nothing published is called 'nobody'"),
        ("own_reward", ["sed=1"], "sed: there is no such setting"),
        ("own_strategy", ["sed=1"], "sed: there is no such setting"),
    ],
)
def test_bad_input_is_answered_in_a_line(
    name: str, arguments: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=rf"^{line}[^\n]*$"):
        run(name, arguments, monkeypatch)


def test_objects_are_cut_out_by_class(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setenv("SPINESEARCH_CACHE", str(tmp_path / "cache"))
    run("object_folders", [str(tmp_path / "objects"), "6", "2"], monkeypatch)
    count = int(capsys.readouterr().out.split()[0])
    pngs = list((tmp_path / "objects").glob("*/*/*.png"))
    assert len(pngs) == count > 8
    assert {path.parent.name for path in pngs} <= {"disk", "ring", "triangle", "square", "star"}


@pytest.fixture
def quick(serial: list[str]) -> list[str]:
    return [*serial, "search.num_trials=2"]


@pytest.mark.slow
def test_own_data(
    tiny: list[str], shared_data: Callable[[str], tuple[str, str]], tmp_path: Path, monkeypatch, capsys
):
    images, annotations = shared_data("bccd")
    settings = [word for word in tiny if word.startswith(("runs_dir", "data.cache", "proxy", "search"))]
    settings += ["search.engine=serial", "search.num_trials=2"]
    run("own_data", [images, annotations, *settings], monkeypatch)
    out = capsys.readouterr().out
    assert "1. trial " in out
    assert out.rstrip().endswith(" parameters")


@pytest.mark.slow
def test_own_strategy(quick: list[str], monkeypatch, capsys):
    run("own_strategy", quick, monkeypatch)
    assert "trial 1: reward 0." in capsys.readouterr().out


@pytest.mark.slow
def test_own_reward_whose_search_is_resumed_and_shown(quick: list[str], tmp_path: Path, monkeypatch, capsys):
    run("own_reward", [*quick, "search.generation_size=1"], monkeypatch)
    run("own_reward", [*quick, "search.generation_size=1", "search.num_trials=3"], monkeypatch)
    assert "best: trial " in capsys.readouterr().out
    assert main(["show", str(tmp_path / "runs" / "own_reward")]) == 0
    assert "3 of 3 candidates done" in capsys.readouterr().out
    assert main(["resume", str(tmp_path / "runs" / "own_reward"), "search.num_trials=4"]) == 2
    assert "search.reward_metric: must be one of" in capsys.readouterr().err
