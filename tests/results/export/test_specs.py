"""Exports: what a folder holds afterwards, and what is left alone."""

import json
import os
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from spinesearch.results.export.specs import Noise, export_top
from spinesearch.results.ledger.run import Run
from spinesearch.space import SpineNetSpace, backbone_cost, load_spec
from spinesearch.space.arch.spec_file import load_spec_file, schema

SPACE = SpineNetSpace()
CONFIG = {"seed": 0, "space": {"name": "spinenet"}, "proxy_task": {}, "search": {"reward_metric": "ap"}}


def add_trial(run: Run, reward: float) -> str:
    """A completed trial more; its arch_id."""
    number = len(run.trials)
    tokens = SPACE.sample(np.random.default_rng(number))
    arch_id = SPACE.decode(tokens).arch_id
    run.apply(
        {
            "event": "propose",
            "trial": number,
            "generation": 0,
            "tokens": tokens,
            "log_prob": -1.0,
            "arch_id": arch_id,
        }
    )
    run.apply({"event": "result", "trial": number, "status": "completed", "reward": reward, "time": 1.0})
    return arch_id


@pytest.fixture
def run(monkeypatch) -> Run:
    monkeypatch.setattr("spinesearch.results.ledger.run.build_space", lambda config: SPACE)
    run = Run()
    run.apply({"event": "run", "config": CONFIG, "version": "0", "data": {}, "time": 0.0})
    return run


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_run_that_grew_leaves_no_earlier_ranks(run: Run, tmp_path: Path):
    folder = tmp_path / "export"
    first = [add_trial(run, reward) for reward in (0.2, 0.1)]
    export_top(run, top=2, run_name="r", output_dir=folder)
    assert names(folder) == [f"01_{first[0]}.json", f"02_{first[1]}.json"]
    best = add_trial(run, 0.3)
    written = export_top(run, top=2, run_name="r", output_dir=folder)
    assert written == [folder / f"01_{best}.json", folder / f"02_{first[0]}.json"]
    assert names(folder) == [path.name for path in written]
    assert [load_spec(path).name for path in written] == ["r-01", "r-02"]
    export_top(run, top=1, run_name="r", output_dir=folder)
    assert names(folder) == [f"01_{best}.json"]


def test_nothing_else_in_the_folder_is_touched(run: Run, tmp_path: Path):
    add_trial(run, 0.2)
    others = [
        "notes.txt",
        "01_af6e18860979.json.bak",
        "1_af6e18860979.json",
        "01_AF6E18860979.json",
        "01_af6e1886097.json",
        "best_01_af6e18860979.json",
        "01_af6e18860979.tmp",
    ]
    for name in others:
        (tmp_path / name).write_text("mine")
    (tmp_path / "02_af6e18860979.json").mkdir()  # of the right name, but a folder
    (tmp_path / "03_af6e18860979.json").write_text('{"schema_version": 2, "provenance": {"run": "r"}}')
    (written,) = export_top(run, top=1, run_name="r", output_dir=tmp_path)
    assert names(tmp_path) == sorted([*others, "02_af6e18860979.json", written.name])


def test_an_error_leaves_no_half_and_removes_nothing(run: Run, tmp_path: Path, monkeypatch):
    add_trial(run, 0.2)
    (earlier,) = export_top(run, top=1, run_name="r", output_dir=tmp_path)
    add_trial(run, 0.3)

    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        export_top(run, top=1, run_name="r", output_dir=tmp_path)
    assert names(tmp_path) == [earlier.name]


@pytest.mark.parametrize("below", ["", "sub"])
def test_an_output_that_is_a_file_is_named(run: Run, tmp_path: Path, below: str):
    add_trial(run, 0.2)
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ValueError, match="--output: must be a folder, but a file is at ") as caught:
        export_top(run, top=1, run_name="r", output_dir=file / below)
    assert "\n" not in str(caught.value)
    assert file.read_text() == "mine"


def test_nothing_to_export(run: Run, tmp_path: Path):
    with pytest.raises(ValueError, match="r: no trial has completed"):
        export_top(run, top=1, run_name="r", output_dir=tmp_path)
    with pytest.raises(ValueError, match="--top: must be at least 1, got 0"):
        export_top(run, top=0, run_name="r", output_dir=tmp_path)


def test_other_runs_exports_are_left_alone(run: Run, tmp_path: Path):
    first = add_trial(run, 0.2)
    export_top(run, top=1, run_name="other", output_dir=tmp_path)
    (tmp_path / "02_0123456789ab.json").write_text("not JSON")
    best = add_trial(run, 0.3)
    export_top(run, top=1, run_name="mine", output_dir=tmp_path)
    assert names(tmp_path) == sorted([f"01_{first}.json", f"01_{best}.json", "02_0123456789ab.json"])


def test_provenance_says_where_it_came_from(run: Run, tmp_path: Path):
    add_trial(run, 0.2)
    noise = Noise(0.01, "noise")
    (path,) = export_top(run, top=1, run_name="r", output_dir=tmp_path, noise=noise)
    data = json.loads(path.read_text())
    assert jsonschema.Draft202012Validator(schema()).is_valid(data)
    spec, provenance = load_spec_file(path)
    assert SPACE.decode(provenance["tokens"]) == spec
    cost = backbone_cost(spec, 640)
    assert provenance == {
        "run": "r",
        "version": "0",
        "trial": 0,
        "rank": 1,
        "seed": 0,
        "reward": {"value": 0.2, "noise_sd": 0.01, "noise_run": "noise"},
        "metrics": {},
        "cost": {"parameters": cost.parameters, "multiply_adds": cost.multiply_adds, "input_size": 640},
        "tokens": provenance["tokens"],
        "space": {"name": "spinenet"},
        "proxy_task": {},
        "data": {},
    }


def test_an_earlier_release_s_export_is_replaced(run: Run, tmp_path: Path):
    add_trial(run, 0.2)
    (tmp_path / "02_af6e18860979.json").write_text('{"schema_version": 1, "search": {"run": "r"}}')
    export_top(run, top=1, run_name="r", output_dir=tmp_path)
    assert not (tmp_path / "02_af6e18860979.json").exists()
