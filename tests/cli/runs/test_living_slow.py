"""Runs that are really carried out, looked at and stopped by other processes."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from cli_process import CLI, start, wait_for_results
from trained_run import command as train_command

from spinesearch.cli.main import main
from spinesearch.results.ledger.run import load_run
from spinesearch.search.runs.stop_request import STOP_NAME

pytestmark = [pytest.mark.slow]


def said(*words: object) -> str:
    """What a command prints, in a process of its own as on another machine."""
    result = subprocess.run([*CLI, *map(str, words)], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def wait_until_running(process: subprocess.Popen[str], run_dir: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert process.poll() is None, process.stdout.read()
        if (run_dir / "ledger.jsonl").exists() and (run_dir / "ledger.jsonl").stat().st_size:
            return
        time.sleep(0.1)
    raise AssertionError("it did not begin")


def stopped_by_request(arguments: Sequence[str], run_dir: Path, num_results: int) -> str:
    """Start a command, have `stop` end it, and return what it printed."""
    process = start(list(arguments))
    if num_results:
        wait_for_results(process, run_dir, num_results)
    else:
        wait_until_running(process, run_dir)
    assert f"{run_dir}: stopped" in said("stop", run_dir)
    out = process.communicate(timeout=60)[0]
    assert process.returncode == 130, out
    assert "asked to stop by `spinesearch stop`" in out
    assert not (run_dir / STOP_NAME).exists()
    return out


def test_a_search_stops_in_the_middle_of_a_training_and_ends_as_if_it_had_not(serial, tmp_path: Path):
    """What is proposed and scored afterwards is what an undisturbed search proposes and scores."""
    whole, run_dir = tmp_path / "runs" / "whole", tmp_path / "runs" / "run"
    assert main(["search", *serial, "name=whole"]) == 0
    out = stopped_by_request(["search", *serial, "name=run"], run_dir, 1)
    assert "stopped; nothing finished is lost" in out
    run, _ = load_run(run_dir)
    assert not any(trial.lost for trial in run.trials)  # a stop costs no attempt
    assert main(["resume", str(run_dir)]) == 0
    reported = [
        [(t.tokens, t.status, t.reward) for t in load_run(folder)[0].trials] for folder in (whole, run_dir)
    ]
    assert reported[0] == reported[1]


def test_a_study_and_a_training_stop_and_go_on(serial, tmp_path: Path, cache_dir: Path):
    run_dir = tmp_path / "runs" / "study"
    of_searches = ("search.generation_size", "search.num_trials", "search.finalists")  # a study has none
    settings = [word for word in serial if not word.startswith(of_searches)]
    study = ["proxy", "variance", *settings, "--archs", "2", "--seeds", "3", "name=study"]
    stopped_by_request(study, run_dir, 1)
    assert main(["resume", str(run_dir), "-q"]) == 0
    run, _ = load_run(run_dir)
    assert run.num_done == 6
    assert not any(trial.lost for trial in run.trials)
    training = train_command(tmp_path, cache_dir, "train.num_epochs=4000", "train.eval_every_epochs=4000")
    stopped_by_request(training, tmp_path / "runs" / "run", 0)
    checkpoints = list((tmp_path / "runs" / "run" / "checkpoints").iterdir())
    assert checkpoints  # its state at the stop


def test_failed_candidates_are_tried_again_quietly(serial, tmp_path: Path, monkeypatch, capsys):
    from spinesearch.search.scoring import proxy_score

    run_dir = tmp_path / "runs" / "run"
    with monkeypatch.context() as patch:
        patch.setattr(proxy_score.ProxyScore, "__call__", _broken)
        assert main(["search", *serial, "search.max_failed_share=1", "name=run", "-q"]) == 1
        assert all(line.startswith("warning: ") for line in capsys.readouterr().out.splitlines())
    before, _ = load_run(run_dir)
    assert {trial.status for trial in before.trials} == {"failed"}
    assert main(["retry", str(run_dir), "-q"]) == 0
    assert all(line.startswith("warning: ") for line in capsys.readouterr().out.splitlines())
    run, _ = load_run(run_dir)
    assert {trial.status for trial in run.trials} == {"completed"}
    assert [update.digest for update in run.updates] == [update.digest for update in before.updates]
    assert (run_dir / "export").is_dir()


def _broken(*arguments: object, **options: object) -> None:
    raise ArithmeticError("the loss is not finite")


@pytest.mark.ray
def test_a_search_on_two_ray_workers_is_listed_followed_compared_and_stopped(tiny, tmp_path: Path):
    other, run_dir = tmp_path / "runs" / "other", tmp_path / "runs" / "run"
    alone = ["search.engine=serial", "search.num_trials=4", "controller=random", "name=other"]
    assert main(["search", *tiny, *alone]) == 0
    shared = ["search.num_workers=2", "search.num_trials=400", "controller=reinforce", "name=run"]
    process = start(["search", *tiny, *shared])
    follower = None
    try:
        wait_for_results(process, run_dir, 4)
        listed = {Path(one["run"]).name: one for one in json.loads(said("ls", tmp_path / "runs", "--json"))}
        assert listed["run"]["state"] == "running"
        assert str(process.pid) in listed["run"]["owner"]
        assert 4 <= listed["run"]["done"] < listed["run"]["of"] == 400
        assert (listed["other"]["state"], listed["other"]["done"]) == ("complete", 4)
        follower = start(["show", str(run_dir), "--follow"])
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(follower.stdout))
        reader.start()
        compared = json.loads(said("compare", run_dir, other, "--json"))
        assert sorted(row["strategy"] for row in compared["rows"]) == ["random", "reinforce"]
        assert compared["candidates"][-1] <= 4
        end = time.monotonic() + 60
        while sum(line.startswith("[") for line in lines) < 3:  # results that came while it looked
            assert time.monotonic() < end, lines
            time.sleep(0.1)
        assert "stopped" in said("stop", run_dir, "--timeout", "120")
        assert process.wait(60) == 130
        end = time.monotonic() + 60
        while not any("no process carries it out; waiting for one" in line for line in lines):
            assert time.monotonic() < end, lines
            time.sleep(0.1)
        os.killpg(follower.pid, 2)  # Ctrl-C
        assert follower.wait(30) == 0
        reader.join()
        run, _ = load_run(run_dir)
        assert not any(trial.lost for trial in run.trials)
        assert len({trial.worker for trial in run.trials if trial.status == "completed"}) == 2
    finally:
        for child in (process, follower):
            if child is not None:
                if child.poll() is None:
                    child.kill()
                    child.wait()
                child.stdout.close()
