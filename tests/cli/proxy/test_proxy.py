"""``spinesearch proxy``: real proxy training on real images, in seconds, and how bad input is answered."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_checks import fails
from cli_process import start, wait_for_results

from spinesearch.cli.main import main
from spinesearch.proxy_task.request import DETECTIONS
from spinesearch.results.ledger.ledger import LEDGER_NAME
from spinesearch.results.ledger.run import load_run
from spinesearch.search.scoring.trial_files import kept_reader

_OF_SEARCHES = ("search.num_trials", "search.generation_size", "search.finalists")


@pytest.fixture
def settings(tiny: list[str]) -> list[str]:
    """Those of `tiny` that a study has."""
    return [text for text in tiny if not text.startswith(_OF_SEARCHES)]


@pytest.fixture
def serial_study(settings: list[str]) -> list[str]:
    return [*settings, "search.engine=serial"]


def recorded(run_dir: Path) -> str:
    run, torn = load_run(run_dir)
    assert not torn
    return json.dumps(
        [(t.trial, t.side, t.seed, t.tokens, t.status, t.reward, t.metrics["loss"]) for t in run.trials]
    )


def test_variance_show_resume_and_growth(serial_study, tmp_path: Path, capsys):
    run_dir = tmp_path / "runs" / "study"
    command = ["proxy", "variance", *serial_study, "name=study"]
    assert main([*command, "--archs", "2", "--seeds", "2"]) == 0
    out = capsys.readouterr().out
    assert "2 architectures of spinenet x 2 seeds: 4 trainings" in out
    assert "[4/4] trial 3 " in out
    assert "best so far" not in out
    assert "proxy variance: 4 of 4 trainings done" in out
    assert "2 architectures x 2 seeds" in out
    assert "an hour, all workers together" in " ".join(out.split())
    assert f"wrote {run_dir / 'variance.json'}" in out
    assert json.loads((run_dir / "variance.json").read_text())["num_done"] == 4
    before = (run_dir / LEDGER_NAME).read_bytes()

    # The same command again, and `resume`, find it complete.
    assert main([*command, "--archs", "2", "--seeds", "2"]) == 0
    assert main(["resume", str(run_dir)]) == 0
    assert (run_dir / LEDGER_NAME).read_bytes() == before
    capsys.readouterr()

    assert main([*command, "--archs", "3", "--seeds", "2"]) == 0
    assert "4 of 6 trainings are done already\n" in capsys.readouterr().out
    assert (run_dir / LEDGER_NAME).read_bytes().startswith(before)
    assert main(["show", str(run_dir), "--top", "2"]) == 0
    out = capsys.readouterr().out
    assert "proxy variance: 6 of 6 trainings done" in out
    assert "best 2 of 3" in out
    assert "--archs 3 --seeds 2" in " ".join(out.split())  # how to do it again

    # One training is the same as in a search with that seed.
    search = [text for text in serial_study if not text.startswith("search.num")]
    words = ["search", *search, "controller=random", "search.num_trials=2", "search.generation_size=2"]
    words.append("search.finalists=0")
    assert main([*words, "name=search"]) == 0
    searched, _ = load_run(tmp_path / "runs" / "search")
    studied, _ = load_run(run_dir)
    assert [(t.arch_id, t.metrics["loss"]) for t in searched.trials] == [
        (t.arch_id, t.metrics["loss"]) for t in studied.trials[:2]
    ]


@pytest.mark.slow
def test_correlate_and_what_it_takes_over(serial_study, tmp_path: Path, capsys):
    runs = tmp_path / "runs"
    command = ["proxy", "correlate", *serial_study, "--archs", "3", "b.proxy_task.num_steps=4"]
    assert main([*command, "name=first"]) == 0
    out = capsys.readouterr().out
    assert "3 architectures of spinenet x 1 seed x 2 settings: 6 trainings" in out
    assert "a: num_steps=2; " in out
    assert "b: num_steps=4; " in out
    assert sorted(path.name for path in (runs / "first").glob("correlate.*")) == [
        "correlate.json",
        "correlate.png",
    ]
    assert "intervals of ap are over architectures and held-out images" in " ".join(out.split())
    assert json.loads((runs / "first" / "correlate.json").read_text())["draws_images"]
    first, _ = load_run(runs / "first")
    assert {t.metrics["num_steps"] for t in first.trials if t.side == "b"} == {4}

    # Another setting a: the trainings of b are there already.
    assert main([*command, "a.proxy_task.lr=0.1", "name=second", "--reuse", str(runs / "first")]) == 0
    assert "6 of 6 trainings done, 3 taken over from other runs" in capsys.readouterr().out
    second, _ = load_run(runs / "second")
    assert {t.reused_from for t in second.trials if t.side == "b"} == {"first"}
    assert [t.metrics for t in second.trials if t.side == "b"] == [
        dict(t.metrics) for t in first.trials if t.side == "b"
    ]
    assert {t.reused_from for t in second.trials if t.side == "a"} == {""}
    kept = [
        [kept_reader(runs / name, DETECTIONS)(t) for t in run.trials if t.side == "b"]
        for name, run in (("first", first), ("second", second))
    ]
    assert kept[0] == kept[1]
    assert None not in kept[0]

    # A search under the first setting has trained the same candidates with the same seed.
    words = [*serial_study, "controller=random", "search.num_trials=3", "search.generation_size=1"]
    words.append("search.finalists=0")
    assert main(["search", *words, "name=search"]) == 0
    capsys.readouterr()
    assert main([*command, "name=third", "--reuse", str(runs / "search")]) == 0
    assert "over architectures: the detections were not kept" in " ".join(capsys.readouterr().out.split())
    third, _ = load_run(runs / "third")
    assert [t.metrics["loss"] for t in third.trials] == [t.metrics["loss"] for t in first.trials]
    assert sum(t.reused_from == "search" for t in third.trials) == 3


@pytest.mark.slow
def test_ray_workers_and_this_process_agree(cluster, settings, tmp_path: Path):
    """To the last bit, on two sides with different settings."""
    command = ["proxy", "correlate", *settings, "--archs", "3", "b.proxy_task.num_steps=3"]
    for name, overrides in (("serial", ["search.engine=serial"]), ("ray", ["search.num_workers=1"])):
        assert main([*command, *overrides, f"name={name}"]) == 0
    assert recorded(tmp_path / "runs" / "serial") == recorded(tmp_path / "runs" / "ray")


@pytest.mark.faults
@pytest.mark.slow
def test_killed_and_interrupted_the_study_ends_as_an_undisturbed_one(serial_study, tmp_path: Path, capsys):
    """The real command line as a process of its own: SIGKILL, then Ctrl-C, then `resume`."""
    command = ["proxy", "variance", *serial_study, "--archs", "3", "--seeds", "2", "name=run"]
    run_dir = tmp_path / "runs" / "run"
    process = start(command)
    first = wait_for_results(process, run_dir, 1)
    process.kill()
    process.communicate(timeout=60)
    process = start(command)
    second = wait_for_results(process, run_dir, len(first) + 1)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert f"stopped; nothing finished is lost. Resume with:\n  spinesearch resume {run_dir}" in output
    assert "Traceback" not in output
    assert second[: len(first)] == first
    assert main(["resume", str(run_dir)]) == 0
    assert "6 of 6 trainings done" in capsys.readouterr().out
    assert main([*command[:-1], "name=whole"]) == 0
    assert recorded(run_dir) == recorded(tmp_path / "runs" / "whole")


@pytest.mark.slow
def test_failed_trainings_are_reported(serial_study, tmp_path: Path, capsys):
    command = ["proxy", "variance", *serial_study, "--archs", "2", "--seeds", "2", "name=run"]
    broken = ["proxy_task.lr=1e30", "proxy_task.num_steps=6", "proxy_task.warmup_steps=0"]
    assert main([*command, *broken]) == 1
    captured = capsys.readouterr()
    assert "TrainingDiverged" in captured.out
    assert "No verdict yet" in captured.out
    assert "no training completed; the reasons are above" in captured.err
    assert main(["show", str(tmp_path / "runs" / "run")]) == 0

    broken_b = [f"b.{text}" for text in broken]
    assert main(["proxy", "correlate", *serial_study, "--archs", "3", "name=b", *broken_b]) == 1
    captured = capsys.readouterr()
    assert "no result yet: it takes three architectures that completed on both" in captured.out
    assert "no training of side b completed; the reasons are above" in captured.err


def test_bad_words(serial_study, tmp_path: Path, capsys):
    variance = ["proxy", "variance", *serial_study, "name=run"]
    correlate = ["proxy", "correlate", *serial_study, "name=run"]
    fails(
        ["proxy", "varance"],
        "proxy varance: there is no such command; give one of proxy variance, proxy",
        capsys,
    )
    fails([*variance, "--archs", "1"], "--archs: must be at least 2, got 1", capsys)
    fails([*variance, "--seeds", "1"], "--seeds: must be at least 2, got 1", capsys)
    fails([*correlate, "--archs", "2"], "--archs: must be at least 3, got 2", capsys)
    fails([*correlate, "--seeds", "0"], "--seeds: must be at least 1, got 0", capsys)
    fails([*variance, "controller=random"], "controller: a study has none: --archs and --seeds say", capsys)
    fails([*variance, "search.num_trials=9"], "search.num_trials: a study has none", capsys)
    fails([*correlate, "b.search.lag=9"], "search.lag: a study has none", capsys)
    fails([*correlate, "b.seed=9"], "b.seed: the two sides may differ in proxy_task and data", capsys)
    fails([*correlate, "b.space=hourglass"], r"b.space: the two sides may differ in proxy_task and", capsys)
    fails([*correlate, "b.proxy_task.lr=-1"], "proxy_task.lr: must be a finite number", capsys)
    fails(
        [*variance, "a.proxy_task.lr=1"],
        "a.proxy_task.lr: there is no such setting; did you mean proxy_task.lr",
        capsys,
    )
    fails([*variance, "proxy_task.learning=1"], "proxy_task.learning: there is no such setting", capsys)
    fails([*variance, "--reuse", str(tmp_path / "no")], "no: is not a run: there is no such folder", capsys)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_folders_that_hold_something_else(serial_study, tmp_path: Path, capsys):
    runs = tmp_path / "runs"
    search = ["search", *serial_study, "search.num_trials=1", "search.generation_size=1"]
    search.append("search.finalists=0")
    variance = ["proxy", "variance", *serial_study, "--archs", "2", "--seeds", "2"]
    correlate = ["proxy", "correlate", *serial_study, "--archs", "3"]
    assert main([*search, "name=search"]) == 0
    assert main([*variance, "name=study"]) == 0
    ledgers = [(runs / name / LEDGER_NAME).read_bytes() for name in ("search", "study")]
    fails([*variance, "name=search"], "name: this folder holds a search; choose another name", capsys)
    fails([*search, "name=study"], "name: .*study holds a study, not a search; resume it by", capsys)
    fails([*correlate, "name=study"], r"name: this folder holds a study of another kind \(variance\)", capsys)
    fails(["export", str(runs / "study")], "is a study, which exports no architectures", capsys)
    fails([*variance, "name=study", "--archs", "2", "--seeds", "2", "seed=3"], "seed: this run was", capsys)
    grown = [*variance, "name=study", "--seeds", "3"]
    fails([*grown, "proxy_task.lr=0.3"], "proxy_task.lr: this run was begun with 0.15 and cannot be", capsys)
    fails(["resume", str(runs / "study"), "proxy_task.lr=1"], "proxy_task.lr: this run was begun", capsys)
    fails(
        [*correlate, "name=new", "proxy_task.lr=0.3", "--reuse", str(runs / "study")],
        "--reuse: .*study has no results that fit here: proxy_task.lr is 0.15 there and 0.3 here",
        capsys,
    )
    assert [(runs / name / LEDGER_NAME).read_bytes() for name in ("search", "study")] == ledgers
    assert not (runs / "new").exists()
    assert main([*variance, "name=shrunk", "--archs", "3"]) == 0
    fails([*variance, "name=shrunk"], "--archs: a study can grow but not shrink: it has 3, got 2", capsys)


def test_help_and_cfg(serial_study, tmp_path: Path, capsys):
    assert main(["proxy", "--help"]) == 0
    assert main(["proxy"]) == 2
    for kind in ("variance", "correlate"):
        with pytest.raises(SystemExit) as stopped:
            main(["proxy", kind, "--help"])
        assert stopped.value.code == 0
        out = capsys.readouterr().out
        assert f"usage: spinesearch proxy {kind}" in out
        assert max(map(len, out.splitlines())) <= 100
    assert main(["proxy", "correlate", *serial_study, "b.proxy_task.num_steps=7", "--cfg"]) == 0
    side_a, side_b = capsys.readouterr().out.split("# side b\n")
    assert side_a.startswith("# side a\n")
    assert "num_steps: 2\n" in side_a
    assert "num_steps: 7\n" in side_b
    assert not (tmp_path / "runs").exists()


def test_what_help_loads():
    """The command's words are checked before torch, Ray and matplotlib are loaded."""
    code = (
        "from spinesearch.cli.main import main; main(['proxy', 'variance', 'name=x', '--cfg']); "
        "import sys; print(*sys.modules, file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "spinesearch.search.study.study_config" in result.stderr.split()
    assert not {"torch", "ray", "matplotlib"} & set(result.stderr.split())
