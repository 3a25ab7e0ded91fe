"""The command line, from words to files: real proxy training on real images, in seconds."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from spinesearch import load_spec
from spinesearch.cli.main import main
from spinesearch.results.ledger.ledger import LEDGER_NAME
from spinesearch.results.ledger.run import load_run
from spinesearch.search.loop import checkpoint
from spinesearch.space import SPINENET_49


def test_search_show_export_resume(serial, tmp_path: Path, capsys):
    runs = tmp_path / "runs"
    serial = [*serial, "controller=reinforce"]  # it learns from the first generation
    serial += ["search.num_trials=4"]
    assert main(["search", *serial, "name=first", "search.export_top=2"]) == 0
    out = capsys.readouterr().out
    assert out.count(" ap 0.") == 4  # AP printed per candidate
    assert "[4/4] trial 3" in out
    assert "update 1: " in out
    assert out.count("of the positive anchors that a training at 640 px has") == 1
    assert "arch_id" in out  # the leaderboard
    exported = [Path(line.split()[1]) for line in out.splitlines() if line.startswith("exported ")]
    assert [path.parent for path in exported] == [runs / "first" / "export"] * 2
    assert list((runs / "first" / "tensorboard").iterdir())

    run, _ = load_run(runs / "first")
    best = max((t for t in run.trials if t.status == "completed"), key=lambda t: (t.reward, -t.trial))
    spec = load_spec(exported[0])
    assert spec == run.spec(best)
    data = json.loads(exported[0].read_text())
    assert data["provenance"]["reward"] == {"value": best.reward}
    assert data["provenance"]["metrics"]["ap50"] == best.metrics["ap50"]
    assert data["provenance"]["seed"] == 0
    assert data["provenance"]["space"]["name"] == "spinenet"
    assert data["provenance"]["version"] == run.sessions[0]["version"]

    assert main(["show", str(runs / "first"), "--top", "3"]) == 0
    out = capsys.readouterr().out
    assert "4 of 4 candidates done (4 completed), 2 updates" in out
    num_images = run.sessions[0]["data"]["num_train_images"]
    assert f"positive anchors by output, by {num_images} images; in brackets at 640 px: P3 " in out
    assert "reward by generation" in out
    assert "best 3 of 4" in out
    assert "block     0" in out  # the drawing

    assert main(["export", str(runs / "first"), "--top", "1", "--output", str(tmp_path / "x")]) == 0
    assert [path.name for path in (tmp_path / "x").iterdir()] == [exported[0].name]

    # The same command again finds it complete; more trials go on from there.
    before = (runs / "first" / LEDGER_NAME).read_bytes()
    assert main(["search", *serial, "name=first"]) == 0
    assert (runs / "first" / LEDGER_NAME).read_bytes() == before
    capsys.readouterr()
    assert main(["resume", str(runs / "first"), "search.num_trials=6"]) == 0
    out = capsys.readouterr().out
    assert "4 of 6 candidates are done already" in out
    assert load_run(runs / "first")[0].num_done == 6


@pytest.mark.slow
def test_one_worker_two_workers_and_the_serial_engine_agree(cluster, tiny, tmp_path: Path):
    """The real proxy task: proposals and rewards equal to the last bit."""
    reported = []
    for name, overrides in (
        ("serial", ["search.engine=serial"]),
        ("one", ["search.num_workers=1"]),
        ("two", ["search.num_workers=2"]),
    ):
        assert main(["search", *tiny, *overrides, f"name={name}"]) == 0
        run, _ = load_run(tmp_path / "runs" / name)
        reported.append(
            json.dumps(
                [
                    (t.trial, t.tokens, t.log_probs, t.arch_id, t.status, t.reward, t.metrics["loss"])
                    for t in run.trials
                ]
                + [(u.update, dict(u.stats), u.digest) for u in run.updates]
            )
        )
    assert reported[0] == reported[1] == reported[2]


def test_a_run_without_a_name_gets_a_folder_of_its_own(serial, tmp_path: Path):
    for _ in range(2):
        assert main(["search", *serial, "search.num_trials=1", "label=x"]) == 0
    first, second = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_x", first)
    assert second == f"{first}_2"


def test_help_and_cfg_for_every_command(serial, recorded_run: Path, tmp_path: Path, capsys):
    assert main(["--help"]) == 0
    assert main(["--version"]) == 0
    assert main([]) == 2
    capsys.readouterr()
    assert main(["search", *serial, "--cfg"]) == 0
    out = capsys.readouterr().out
    assert "engine: serial" in out
    assert not (tmp_path / "runs").exists()
    for command in ("resume", "show", "export"):
        capsys.readouterr()
        assert main([command, str(recorded_run), "--cfg"]) == 0
        assert "num_trials: 1" in capsys.readouterr().out
    for command in ("search", "resume", "show", "export"):
        with pytest.raises(SystemExit) as stopped:
            main([command, "--help"])
        assert stopped.value.code == 0
        assert f"usage: spinesearch {command}" in capsys.readouterr().out


@pytest.mark.slow
def test_a_disk_too_full_for_checkpoints_does_not_stop_the_search(serial, capsys, monkeypatch):
    replace = os.replace

    def replace_on_a_full_disk(source, destination):
        if Path(destination).parent.name == checkpoint.FOLDER:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, destination)

    monkeypatch.setattr(os, "replace", replace_on_a_full_disk)
    assert main(["search", *serial, "name=run"]) == 0
    assert "warning: the controller's state was not saved, resuming will replay it" in capsys.readouterr().out


def test_names_that_a_shell_or_a_terminal_would_take_apart(serial, tmp_path: Path, capsys):
    odd = tmp_path / "runs [/b] c"
    settings = [text for text in serial if not text.startswith("runs_dir")]
    assert main(["search", *settings, f"runs_dir='{odd}'", "name='[red]a b'", "search.num_trials=1"]) == 0
    assert f"spinesearch show '{odd}/[red]a b'" in capsys.readouterr().out
    assert (odd / "[red]a b" / LEDGER_NAME).exists()


def test_a_killed_start_leaves_the_name_free(serial, tmp_path: Path):
    """Killed between the lock and the ledger's first line."""
    run_dir = tmp_path / "runs" / "run"
    run_dir.mkdir(parents=True)
    (run_dir / "lock").touch()
    (run_dir / LEDGER_NAME).touch()
    assert main(["search", *serial, "name=run", "search.num_trials=1"]) == 0


@pytest.mark.slow
def test_data_paths_are_recorded_absolute(coco, tmp_path: Path, monkeypatch, capsys):
    images, _, command = coco
    monkeypatch.chdir(tmp_path)
    relative = [
        text.replace(f"{tmp_path}/coco/", "coco/") if text.startswith("data.train") else text
        for text in command
    ]
    assert main([*relative, "search.num_trials=1"]) == 0
    monkeypatch.chdir("/")
    assert main(["resume", str(tmp_path / "runs" / "run"), "search.num_trials=2"]) == 0
    assert load_run(tmp_path / "runs" / "run")[0].config["data"]["train_images"] == str(images)


def test_a_diverging_candidate_fails_and_the_search_continues(serial, tmp_path: Path, capsys):
    """Real divergence: at a learning rate of 1e30 the loss is not finite after a step or two."""
    command = [
        "search",
        *serial,
        "controller=reinforce",
        "name=run",
        "proxy_task.lr=1e30",
        "proxy_task.num_steps=6",
        "search.num_trials=2",
    ]
    assert main([*command, "proxy_task.warmup_steps=0"]) == 1
    captured = capsys.readouterr()
    assert "failed: TrainingDiverged: " in captured.out
    assert "no candidate completed" in captured.err
    run, _ = load_run(tmp_path / "runs" / "run")
    assert [trial.status for trial in run.trials] == ["failed", "failed"]
    assert run.updates[0].stats["baseline"] == 0.0
    assert main(["show", str(tmp_path / "runs" / "run")]) == 0
    assert "TrainingDiverged" in capsys.readouterr().out


@pytest.mark.slow
def test_an_exported_file_builds(serial, tmp_path: Path):
    assert main(["search", *serial, "name=run", "search.num_trials=1"]) == 0
    (path,) = (tmp_path / "runs" / "run" / "export").iterdir()
    code = (
        f"from spinesearch import load_spec, build_backbone; print(build_backbone(load_spec({str(path)!r})))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("ScalePermutedBackbone(")


def test_a_reader_that_leaves_is_no_error(recorded_run: Path):
    command = f"{sys.executable} -m spinesearch.cli.main show {recorded_run} | head -1"
    result = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in result.stderr
    assert "BrokenPipe" not in result.stderr


def test_presets_are_in_the_space():
    from spinesearch.search.config.run_config import compose, run_config

    space = run_config(compose([])).space.build()
    assert space.decode(space.encode(SPINENET_49)) == SPINENET_49
