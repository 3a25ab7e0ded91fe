"""The command line, from words to files: real proxy training on real images, in seconds."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spinesearch import load_spec
from spinesearch.results.ledger import LEDGER_NAME, Ledger, read_ledger
from spinesearch.results.run import load_run
from spinesearch.search.cli import main
from spinesearch.space import SPINENET_49


@pytest.fixture
def serial(tiny: list[str]) -> list[str]:
    return [*tiny, "search.engine=serial"]


def fails(arguments: list[str], message: str, capsys) -> None:
    """The command ends with code 2 and one line on standard error."""
    capsys.readouterr()
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("spinesearch: ")
    assert re.search(message, captured.err), captured.err
    assert "Traceback" not in captured.out + captured.err


def test_search_show_export_resume(serial, tmp_path: Path, capsys):
    runs = tmp_path / "runs"
    assert main(["search", *serial, "name=first", "search.export_top=2"]) == 0
    out = capsys.readouterr().out
    assert out.count(" ap 0.") == 6  # AP printed per candidate
    assert "[6/6] trial 5" in out
    assert "update 2: " in out
    assert "arch_id" in out  # the leaderboard
    exported = [Path(line.split()[1]) for line in out.splitlines() if line.startswith("exported ")]
    assert [path.parent for path in exported] == [runs / "first" / "export"] * 2
    assert list((runs / "first" / "tensorboard").iterdir())

    run, _ = load_run(runs / "first")
    best = max((t for t in run.trials if t.status == "completed"), key=lambda t: (t.reward, -t.trial))
    spec = load_spec(exported[0])
    assert spec == run.spec(best)
    data = json.loads(exported[0].read_text())
    assert data["reward"] == best.reward
    assert data["metrics"]["ap50"] == best.metrics["ap50"]
    assert data["search"]["seed"] == 0
    assert data["search"]["space"]["name"] == "spinenet"
    assert data["search"]["version"] == run.sessions[0]["version"]

    assert main(["show", str(runs / "first"), "--top", "3"]) == 0
    out = capsys.readouterr().out
    assert "6 of 6 candidates done (6 completed), 3 updates" in out
    assert "reward by generation" in out
    assert "best 3 of 6" in out
    assert "block     0" in out  # the drawing

    assert main(["export", str(runs / "first"), "--top", "1", "--output", str(tmp_path / "x")]) == 0
    assert [path.name for path in (tmp_path / "x").iterdir()] == [exported[0].name]

    # The same command again finds it complete; more trials go on from there.
    before = (runs / "first" / LEDGER_NAME).read_bytes()
    assert main(["search", *serial, "name=first"]) == 0
    assert (runs / "first" / LEDGER_NAME).read_bytes() == before
    capsys.readouterr()
    assert main(["resume", str(runs / "first"), "search.num_trials=8"]) == 0
    out = capsys.readouterr().out
    assert "6 of 8 candidates are done already" in out
    assert load_run(runs / "first")[0].num_done == 8


def test_one_worker_two_workers_and_the_serial_engine_agree(cluster, tiny, tmp_path: Path):
    """The real proxy task: proposals and rewards equal to the last bit."""
    told = []
    for name, overrides in (
        ("serial", ["search.engine=serial"]),
        ("one", ["search.num_workers=1"]),
        ("two", ["search.num_workers=2"]),
    ):
        assert main(["search", *tiny, *overrides, f"name={name}"]) == 0
        run, _ = load_run(tmp_path / "runs" / name)
        told.append(
            json.dumps(
                [
                    (t.trial, t.tokens, t.log_prob, t.arch_id, t.status, t.reward, t.metrics["loss"])
                    for t in run.trials
                ]
                + [(u.update, dict(u.stats), u.digest) for u in run.updates]
            )
        )
    assert told[0] == told[1] == told[2]


def test_a_run_without_a_name_gets_a_folder_of_its_own(serial, tmp_path: Path):
    for _ in range(2):
        assert main(["search", *serial, "search.num_trials=1", "label=x"]) == 0
    first, second = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_x", first)
    assert second == f"{first}_2"


def test_help_and_cfg_for_every_command(serial, tmp_path: Path, capsys):
    assert main(["--help"]) == 0
    assert main(["--version"]) == 0
    assert main([]) == 2
    capsys.readouterr()
    assert main(["search", *serial, "--cfg"]) == 0
    out = capsys.readouterr().out
    assert "engine: serial" in out
    assert not (tmp_path / "runs").exists()
    assert main(["search", *serial, "name=run", "search.num_trials=1"]) == 0
    run_dir = str(tmp_path / "runs" / "run")
    for command in ("resume", "show", "export"):
        capsys.readouterr()
        assert main([command, run_dir, "--cfg"]) == 0
        assert "num_trials: 1" in capsys.readouterr().out
    for command in ("search", "resume", "show", "export"):
        with pytest.raises(SystemExit) as stopped:
            main([command, "--help"])
        assert stopped.value.code == 0
        assert f"usage: spinesearch {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["search.num_trails=3"],
            "search.num_trails: there is no such setting; did you mean search.num_trials",
        ),
        (["nonsense=1"], "nonsense: there is no such setting"),
        (["controller=evolution"], "controller: must be one of random, reinforce, got 'evolution'"),
        (["experiment=nope"], "experiment: must be one of demo, paper, got 'nope'"),
        (["search.num_trials=many"], "search.num_trials: Value 'many' .* could not be converted to Integer"),
        (["search.num_trials=0"], "search.num_trials: must be at least 1, got 0"),
        (["search.engine=slurm"], "search.engine: must be one of ray, serial, got 'slurm'"),
        (["search.reward_metric=fps"], "search.reward_metric: must be one of ap, ap50"),
        (["search.gpus_per_trial=-1"], "search.gpus_per_trial: must not be negative"),
        (["controller.learning_rate=-1"], "controller.learning_rate: must be positive and finite, got -1"),
        (["proxy_task.image_size=100"], "proxy_task.image_size: must be a positive multiple of 128, got 100"),
        (["space.window=1"], "space.window: must be at least 2 or null, got 1"),
        (["data.held_out_share=2"], "data.held_out_share"),
        (["seed=-1"], r"seed: must be in 0\.\.9223372036854775807, got -1"),
        (["seed=99999999999999999999"], r"seed: must be in 0\.\."),
        (["controller.learning_rate=inf"], "controller.learning_rate: must be positive and finite, got inf"),
        (["search.cpus_per_trial=inf"], "search.cpus_per_trial: must be positive, got inf"),
        (["search.lag=1000"], "search.lag: must be at most 100, got 1000"),
        (["controller.hidden_size=3", "controller=random"], "controller.hidden_size: not a setting of the"),
        (["proxy_task.filter_size_scale=0.001"], "proxy_task.filter_size_scale: "),
        (["proxy_task.filter_size_scale=0.0625"], "proxy_task.resample_alpha: "),
        (["proxy_task.batch_size=1"], "proxy_task.batch_size: "),
        (["proxy_task.device=cuda"], "proxy_task.device: is cuda but torch sees no CUDA device"),
        (["name=a/b"], "name: must be a plain folder name, got 'a/b'"),
        (["search.num_workers"], "Error parsing override 'search.num_workers'"),
        (["data=coco"], "data.train_images: must be given, add data.train_images="),
    ],
)
def test_bad_settings(overrides, message, serial, tmp_path: Path, capsys):
    kept = [text for text in serial if not text.startswith("data.") or "data=coco" not in overrides]
    fails(["search", *kept, *overrides], message, capsys)
    assert not (tmp_path / "runs").exists()


def test_words_that_are_no_command(capsys):
    fails(["serach"], "serach: there is no such command; did you mean search", capsys)
    fails(["dance"], "commands are search, resume, show, export", capsys)
    for arguments in (["show"], ["show", "a", "b"], ["export", "x", "--top", "many"]):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.fixture
def coco(tmp_path: Path, serial, cache_dir: Path):
    """A small COCO-format data set to break, and the command that searches on it."""
    from spinesearch.proxy_task.generate import generate_dataset

    source = generate_dataset(cache_dir / "generated", num_images=16, num_val_images=0, seed=0)
    folder = tmp_path / "coco"
    shutil.copytree(source, folder)
    annotations = folder / "annotations" / "instances_train.json"
    settings = [text for text in serial if not text.startswith(("data.num", "data.cache"))]
    command = [
        "search",
        *settings,
        "name=run",
        "data=coco",
        f"data.train_images={folder / 'train'}",
        f"data.train_annotations={annotations}",
        f"data.cache_dir={tmp_path / 'coco_cache'}",
    ]
    return folder / "train", annotations, command


def test_broken_data_is_told_before_anything_is_written(coco, tmp_path: Path, capsys):
    images, annotations, command = coco
    good = json.loads(annotations.read_text())

    def fails_with(content, message):
        annotations.write_text(content if isinstance(content, str) else json.dumps(content))
        fails(command, message, capsys)
        assert not (tmp_path / "runs").exists()

    fails_with("{", "instances_train.json: .*JSON")
    fails_with([1, 2], "instances_train.json")
    fails_with({"images": []}, "instances_train.json")
    fails_with({**good, "annotations": []}, "none of [0-9]+ is a usable box")
    flat = [{**row, "bbox": [*row["bbox"][:2], 0, 0]} for row in good["annotations"]]
    fails_with({**good, "annotations": flat}, "none of [0-9]+ is a usable box")
    annotations.unlink()
    fails(command, "instances_train.json", capsys)
    annotations.write_text(json.dumps(good))
    broken = images / good["images"][3]["file_name"]
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    fails(command, broken.name, capsys)
    broken.unlink()
    fails(command, broken.name, capsys)
    assert not (tmp_path / "runs").exists()
    broken.write_bytes(content)
    assert main([*command, "search.num_trials=1"]) == 0


def test_other_data_under_a_run_is_refused(coco, tmp_path: Path, capsys):
    _, annotations, command = coco
    assert main([*command, "search.num_trials=1"]) == 0
    good = json.loads(annotations.read_text())
    good["annotations"][0]["bbox"][2] += 3
    annotations.write_text(json.dumps(good))
    fails(
        [*command, "search.num_trials=2"], "data: this run was begun on other images or annotations", capsys
    )
    assert load_run(tmp_path / "runs" / "run")[0].num_done == 1


def test_runs_that_cannot_be_resumed(serial, tmp_path: Path, capsys):
    fails(["resume", str(tmp_path / "absent")], "is no run: there is no such folder", capsys)
    (tmp_path / "empty").mkdir()
    fails(["resume", str(tmp_path / "empty")], "is no run: it has no ledger.jsonl", capsys)
    for command in ("show", "export"):
        fails([command, str(tmp_path / "empty")], "is no run", capsys)

    assert main(["search", *serial, "name=run", "search.num_trials=2"]) == 0
    run_dir = tmp_path / "runs" / "run"
    ledger = run_dir / LEDGER_NAME
    before = ledger.read_bytes()
    resume = ["resume", str(run_dir)]
    fails([*resume, "seed=1"], "seed: this run was begun with 0 and cannot go on with 1", capsys)
    fails([*resume, "controller.ent_coef=0.5"], "controller.ent_coef: this run was begun with 0.01", capsys)
    fails([*resume, "search.num_trials=1"], "search.num_trials: a run can grow but not shrink", capsys)
    fails(
        [*resume, "controller=random"], "a resumed run takes overrides of the form section.key=value", capsys
    )
    for text in (
        "search.num_trials=[1",
        "search.num_trials=*a",
        "search.num_trials=@",
        "search.num_trials=???",
    ):
        fails([*resume, text], "search.num_trials", capsys)
    fails([*resume, "runs_dir=elsewhere"], "runs_dir: a run stays where it is", capsys)
    fails([*resume, "search.nmu_trials=3"], "search.nmu_trials: there is no such setting", capsys)
    fails(["search", *serial, "name=run", "search.lag=0"], "search.lag: this run was begun with 1", capsys)
    with Ledger(run_dir):
        fails([*resume, "search.num_trials=4"], "another process is writing to this run", capsys)
    lines = before.splitlines(keepends=True)
    ledger.write_bytes(b"".join([lines[0], lines[1].replace(b"0", b"1", 1), *lines[2:]]))
    for command in ("resume", "show", "export"):
        fails([command, str(run_dir)], "ledger.jsonl: line 2 is damaged", capsys)

    # A torn last line: recovered, and said.
    ledger.write_bytes(before[:-9])
    capsys.readouterr()
    assert main(["show", str(run_dir)]) == 0
    assert "dropped the torn last line" in capsys.readouterr().err
    assert ledger.read_bytes() == before[:-9]
    assert main(resume) == 0
    assert "dropped the torn last line" in capsys.readouterr().out
    assert not read_ledger(ledger).torn
    assert load_run(run_dir)[0].num_done == 2


def test_a_name_that_is_taken_by_something_else(serial, tmp_path: Path, capsys):
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "thesis.tex").touch()
    fails(["search", *serial, "name=mine"], "mine exists and is no run; choose another name", capsys)


def test_a_run_that_another_process_began_meanwhile_is_left_alone(
    serial, tmp_path: Path, capsys, monkeypatch
):
    """B checks, A searches from beginning to end while B opens its data, B comes back."""
    from spinesearch.search import session

    open_data = session.open_data
    command = ["search", *serial, "name=run", "search.num_trials=2"]

    def slow(*arguments, **keywords):
        monkeypatch.setattr(session, "open_data", open_data)
        assert main(command) == 0
        return open_data(*arguments, **keywords)

    monkeypatch.setattr(session, "open_data", slow)
    fails(command, "another process began this run meanwhile", capsys)
    assert load_run(tmp_path / "runs" / "run")[0].num_done == 2


def test_a_disk_too_full_for_checkpoints_does_not_stop_the_search(serial, capsys, monkeypatch):
    import torch

    def save(state, file):
        file.write(b"half of it")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", save)
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


def test_why_candidates_failed_is_shown(serial, tmp_path: Path, capsys):
    command = [
        "search",
        *serial,
        "name=run",
        "proxy_task.lr=1e30",
        "proxy_task.num_steps=6",
        "search.num_trials=2",
    ]
    assert main([*command, "proxy_task.warmup_steps=0"]) == 1
    capsys.readouterr()
    assert main(["show", str(tmp_path / "runs" / "run")]) == 0
    assert "TrainingDiverged" in capsys.readouterr().out


def test_a_diverging_candidate_fails_and_the_search_goes_on(serial, tmp_path: Path, capsys):
    """Real divergence: at a learning rate of 1e30 the loss is not finite after a step or two."""
    command = [
        "search",
        *serial,
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


def test_an_exported_file_builds(serial, tmp_path: Path):
    assert main(["search", *serial, "name=run", "search.num_trials=1"]) == 0
    (path,) = (tmp_path / "runs" / "run" / "export").iterdir()
    code = (
        f"from spinesearch import load_spec, build_backbone; print(build_backbone(load_spec({str(path)!r})))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("ScalePermutedBackbone(")


def test_a_reader_that_leaves_is_no_error(serial, tmp_path: Path):
    assert main(["search", *serial, "name=run", "search.num_trials=1"]) == 0
    command = f"{sys.executable} -m spinesearch.search.cli show {tmp_path / 'runs' / 'run'} | head -1"
    result = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in result.stderr
    assert "BrokenPipe" not in result.stderr


def test_presets_are_in_the_space():
    from spinesearch.search.config import compose, run_config

    space = run_config(compose([])).space.build()
    assert space.decode(space.encode(SPINENET_49)) == SPINENET_49
