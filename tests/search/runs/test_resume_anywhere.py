"""The same command resumes a run: in a restarted job, on another machine, from its mirror."""

import json
import random
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from importlib import util
from pathlib import Path

import pytest
import yaml
from cli_checks import fails
from cli_process import CLI, start

from spinesearch.cli.main import main
from spinesearch.results.ledger.ledger import LEDGER_NAME, read_ledger
from spinesearch.results.ledger.run import Run, load_run
from spinesearch.search.config.run_config import (
    RunConfig,
    check_resumable,
    compose,
    run_config,
    with_overrides,
)
from spinesearch.search.runs.run_folder import remove_unused, run_dir_of
from spinesearch.search.scoring.scorer import Score


def recorded(run: Run) -> str:
    return json.dumps(
        [(t.trial, t.tokens, t.log_probs, t.arch_id, t.status, t.reward) for t in run.trials]
        + [(u.update, dict(u.stats), u.digest) for u in run.updates]
    )


@pytest.fixture
def untrained(monkeypatch):
    """Candidates whose score needs no training."""

    def open_score(settings, data) -> Score:
        return lambda spec, seed: {"ap": int(spec.arch_id[:6], 16) / 16**6}

    monkeypatch.setattr("spinesearch.search.engine.proxy_score", open_score)


def test_a_mirrored_run_resumes_after_its_folder_is_gone(serial, untrained, tmp_path: Path, capsys):
    mirror, run_dir = tmp_path / "mirror", tmp_path / "runs" / "run"
    command = ["search", *serial, "search.num_trials=2", f"mirror=file://{mirror}"]
    assert main(command) == 2
    assert "mirror: needs a name=..." in capsys.readouterr().err
    assert main([*command, "name=run"]) == 0
    ledger = (run_dir / LEDGER_NAME).read_bytes()
    exports = sorted(path.name for path in (run_dir / "export").iterdir())
    assert sorted(path.name for path in (mirror / "run" / "export").iterdir()) == exports

    # The same command in a job that has nothing but the mirror: complete, and said at once.
    shutil.rmtree(run_dir)
    capsys.readouterr()
    assert main([*command, "name=run"]) == 0
    out = capsys.readouterr().out
    assert f"{run_dir}: fetched {ledger.count(bytes([10]))} events from file://{mirror}/run\n" in out
    assert f"{run_dir}: complete, all 2 candidates are done\n" in out
    assert (run_dir / LEDGER_NAME).read_bytes() == ledger

    # And by the mirror's URL, into another place, with more to do.
    shutil.rmtree(tmp_path / "runs")
    elsewhere = tmp_path / "elsewhere"
    resume = ["resume", f"file://{mirror}/run", f"runs_dir={elsewhere}", "search.num_trials=4"]
    capsys.readouterr()
    assert main([*resume, "--cfg"]) == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["search"]["num_trials"] == 4
    assert config["mirror"] == f"file://{mirror}"
    assert not elsewhere.exists()  # only looked at
    assert main(resume) == 0
    run, _ = load_run(elsewhere / "run")
    assert run.num_done == 4
    assert run.config["mirror"] == f"file://{mirror}"
    parts = sorted((mirror / "run" / "ledger").iterdir())
    assert b"".join(part.read_bytes() for part in parts) == (elsewhere / "run" / LEDGER_NAME).read_bytes()
    assert not (tmp_path / "runs").exists()

    capsys.readouterr()
    assert main(["resume", f"file://{mirror}/other"]) == 2
    assert f"file://{mirror}/other: holds no run" in capsys.readouterr().err


def test_a_mirror_that_fell_behind_is_made_up_for_by_a_complete_run(serial, untrained, tmp_path: Path):
    """Killed between its last result and the mirror's copy of it."""
    mirror, run_dir = tmp_path / "mirror", tmp_path / "runs" / "run"
    command = ["search", *serial, "search.num_trials=2", "name=run"]
    assert main(command) == 0
    assert main([*command, f"mirror=file://{mirror}"]) == 0
    (part,) = (mirror / "run" / "ledger").iterdir()
    assert part.read_bytes() == (run_dir / LEDGER_NAME).read_bytes()


@pytest.mark.slow
def test_a_mirror_can_be_read_again_whatever_the_run_is_called(serial, untrained, tmp_path: Path):
    """Storage libraries take some characters for patterns."""
    mirror = f"mirror=file://{tmp_path}/m*"
    for name in ("a[1]", "b?", "*"):
        command = ["search", *serial, "search.num_trials=2", f"name='{name}'", mirror]
        assert main(command) == 0
        ledger = (tmp_path / "runs" / name / LEDGER_NAME).read_bytes()
        shutil.rmtree(tmp_path / "runs")
        assert main(command) == 0
        assert (tmp_path / "runs" / name / LEDGER_NAME).read_bytes() == ledger


def test_the_command_that_began_a_run_resumes_though_it_was_extended(
    serial, untrained, tmp_path: Path, capsys
):
    command = ["search", *serial, "search.num_trials=2", "name=run"]
    assert main(command) == 0
    assert main([*command, "search.num_trials=4"]) == 0
    capsys.readouterr()
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "search.num_trials: the run was extended from 2 to 4, to which it continues\n" in out
    assert "complete, all 4 candidates are done" in out
    fails(
        [*command, "search.num_trials=3"], "a run can grow but not shrink: it was begun with 4, got 3", capsys
    )


def test_searches_without_a_name_that_begin_together_have_a_folder_each(tmp_path: Path):
    config = run_config(compose([f"runs_dir={tmp_path}/runs"]))
    first, second = run_dir_of(config), run_dir_of(config)
    assert second.name == f"{first.name}_2"
    remove_unused(config, second)
    assert run_dir_of(config) == second
    (second / LEDGER_NAME).touch()
    for folder in (first, second):
        remove_unused(config, folder)
    assert [folder.name for folder in (tmp_path / "runs").iterdir()] == [second.name]


def test_nothing_pins_a_run_to_a_cluster_or_a_kind_of_gpu():
    def configured(*overrides: str) -> RunConfig:
        return run_config(compose(overrides))

    there = configured(
        "search.num_workers=64",
        "search.cpus_per_trial=8",
        "search.gpus_per_trial=1",
        "search.ray_address=10.0.0.1:6379",
        "search.resources_per_trial={a100: 1}",
        "proxy_task.device=cuda",
        "mirror=s3://bucket/runs",
    )
    here = configured("search.num_workers=2", "search.gpus_per_trial=0", "proxy_task.device=cpu")
    check_resumable(there, here)
    check_resumable(here, there)
    # What is left to choose is chosen anew where the run is resumed, and is not in the ledger.
    assert here.search.num_workers == 2
    default = configured()
    assert (default.search.num_workers, default.search.gpus_per_trial) == (None, None)
    assert default.proxy_task.device == "auto"


def test_ledgers_from_before_mirrors_can_still_be_gone_on_with():
    recorded = run_config(compose([])).to_dict()
    del recorded["mirror"]
    assert with_overrides(recorded, []).mirror is None
    wanted = with_overrides(recorded, ["mirror=s3://bucket/runs"])
    assert wanted.mirror == "s3://bucket/runs"
    check_resumable(run_config(recorded), replace(wanted, mirror="file:///mnt"))


@pytest.mark.faults
@pytest.mark.slow
def test_killed_at_any_instant_with_or_without_its_folder_the_same_command_resumes(serial, tmp_path: Path):
    """SIGKILL from the first moment on; after every other kill only the mirror is left."""
    mirror, run_dir = tmp_path / "mirror", tmp_path / "runs" / "run"
    command = ["search", *serial, "search.num_trials=8", "name=run", f"mirror=file://{mirror}"]
    rng = random.Random(4)
    num_killed = 0
    for number in range(40):
        process = start(command)
        time.sleep(rng.uniform(0.2, 12))
        num_killed += process.poll() is None
        process.kill()
        output, _ = process.communicate(timeout=60)
        if process.returncode == 0:
            break
        assert process.returncode == -9, output
        if number % 2:
            shutil.rmtree(tmp_path / "runs", ignore_errors=True)
    result = subprocess.run([*CLI, *command], capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    assert num_killed >= 2
    run = Run.from_events(run_dir, read_ledger(run_dir / LEDGER_NAME).events)
    assert run.num_done == 8
    assert main(["search", *serial, "search.num_trials=8", "name=whole"]) == 0
    assert recorded(load_run(tmp_path / "runs" / "whole")[0]) == recorded(run)


@pytest.mark.slow
def test_a_run_of_14000_candidates_is_opened(tmp_path: Path):
    """As the benchmark does, whose figures are in docs/cluster.md."""
    path = Path(__file__).parents[3] / "benchmarks" / "engine" / "ledger_scale.py"
    spec = util.spec_from_file_location("ledger_scale", path)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules["ledger_scale"] = module
    spec.loader.exec_module(module)
    module.write_run(tmp_path / "run")
    module.open_run(tmp_path / "run")
    run, _ = load_run(tmp_path / "run")
    assert len(run.trials) == 14_008
    assert len(run.updates) == 1750  # the state of the last update that stands was found: none was made again
    append_s, lease_s = module.time_append(tmp_path / "appends", num_appends=100)
    assert lease_s < 1e-3
    assert append_s > lease_s
