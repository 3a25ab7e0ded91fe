"""Runs by name, and answers to what people type instead."""

import json
import shutil
from pathlib import Path

import pytest
from cli_checks import fails

from spinesearch.cli.main import main
from spinesearch.cli.runs.recorded import DEFAULT_RUNS_DIR, find_run
from spinesearch.results.ledger.run import load_run
from spinesearch.search.config.run_config import compose
from spinesearch.space import SPINENET_49


@pytest.fixture
def here(recorded_run: Path, tmp_path: Path, monkeypatch) -> Path:
    """A working folder with the runs ``demo`` and ``x.json`` in ``runs``."""
    for name in ("demo", "x.json"):
        shutil.copytree(recorded_run, tmp_path / "runs" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_runs_are_found_where_they_are_written_by_default():
    assert str(DEFAULT_RUNS_DIR) == compose([])["runs_dir"]


def test_commands_find_a_run_by_its_name(here: Path, capsys):
    assert main(["show", "demo"]) == 0
    assert "1 of 1 candidates done" in capsys.readouterr().out
    assert main(["export", "demo", "--top", "1"]) == 0
    assert "exported runs/demo/export/01_" in capsys.readouterr().out
    assert main(["resume", "demo", "search.num_trials=2"]) == 0
    assert load_run(here / "runs" / "demo")[0].num_done == 2
    assert main(["show", "runs/demo/ledger.jsonl"]) == 0


def test_a_path_that_exists_wins(here: Path, capsys):
    shutil.copytree(here / "runs" / "demo", here / "demo")
    (here / "runs" / "demo" / "ledger.jsonl").unlink()
    assert find_run("demo") == Path("demo")
    (here / "x.json").write_text(SPINENET_49.to_json())
    assert main(["show", "x.json"]) == 0
    assert "spinenet49" in capsys.readouterr().out


def test_a_folder_that_is_no_run_does_not_hide_the_run_of_its_name(here: Path):
    (here / "demo").mkdir()
    assert find_run("demo") == Path("runs/demo")
    assert find_run(str(here / "demo")) == here / "demo"  # a path names one folder


def test_a_run_called_as_a_spec_file_is(here: Path, capsys):
    for word in ("x.json", "runs/x.json"):
        assert main(["show", word]) == 0
        assert "1 of 1 candidates done" in capsys.readouterr().out
    fails(["show", "y.json"], "y.json: cannot be read: No such file", capsys)


def test_what_is_no_run(here: Path, capsys):
    fails(
        ["show", "demmo"], "demmo: .*no such folder, nor is there runs/demmo; did you mean runs/demo?", capsys
    )
    fails(["resume", "runs"], "runs: is not a run but holds runs/.*, runs/.*; give one of them", capsys)
    fails(["show", "SpineNet-49"], "`spinesearch models spinenet49` shows the published model", capsys)
    fails(["show", "s3://b/run"], "`spinesearch resume s3://b/run` fetches it", capsys)
    fails(["export", "file:///b/run"], "RUN: must be a path, got the URL file:///b/run; give /b/run", capsys)
    study = ["proxy", "variance", "--reuse", "nothing", f"runs_dir={here}/new"]
    fails(study, "nothing: is not a run: there is no such folder, nor is there runs/nothing", capsys)
    assert not (here / "new").exists()


def test_a_run_with_a_text_that_reads_as_something_else_is_resumed(here: Path):
    """As recorded: a label with an interpolation, and folders that hydra's grammar would refuse."""
    images = here / "a=b, [für] ${x}"
    images.mkdir()
    config = load_run(here / "runs" / "demo")[0].config
    assert main(["resume", "demo", "search.num_trials=2", f"data.cache_dir={images}"]) == 0
    changed = load_run(here / "runs" / "demo")[0].config
    assert changed["data"] == {**config["data"], "cache_dir": str(images)}
    assert main(["resume", "demo", "search.num_trials=3"]) == 0
    assert json.dumps(load_run(here / "runs" / "demo")[0].config["data"]) == json.dumps(changed["data"])
