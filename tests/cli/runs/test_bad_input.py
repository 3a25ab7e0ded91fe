"""Bad input: one clear line, exit code 2, nothing written."""

import json
from pathlib import Path

import pytest
from cli_checks import fails

from spinesearch.cli.main import main
from spinesearch.results.ledger.ledger import LEDGER_NAME, Ledger, read_ledger
from spinesearch.results.ledger.run import load_run
from spinesearch.space import SPINENET_49


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["search.num_trails=3"],
            "search.num_trails: there is no such setting; did you mean search.num_trials",
        ),
        (["nonsense=1"], "nonsense: there is no such setting"),
        (["controller=annealing"], "controller: must be one of bayesian, evolution, local_search, ppo, "),
        (
            ["experiment=nope"],
            "experiment: must be one of cloud, demo, mobile, one_gpu_day, paper, got 'nope'",
        ),
        (["search.num_trials=many"], "search.num_trials: must be a whole number, got 'many'"),
        (["search.num_trials=0"], "search.num_trials: must be at least 1, got 0"),
        (["search.engine=slurm"], "search.engine: must be one of ray, serial, got 'slurm'"),
        (["search.reward_metric=fps"], "search.reward_metric: must be one of ap, ap50"),
        (["search.gpus_per_trial=-1"], "search.gpus_per_trial: must not be negative"),
        (
            ["controller=reinforce", "controller.learning_rate=-1"],
            "controller.learning_rate: must be positive and finite, got -1",
        ),
        (
            ["proxy_task.image_size=100"],
            "image_size: must be a positive multiple of 128 up to 8192, got 100",
        ),
        (["space.window=1"], "space.window: must be at least 2 or null, got 1"),
        (["data.held_out_share=2"], "data.held_out_share"),
        (["seed=-1"], r"seed: must be in 0\.\.9223372036854775807, got -1"),
        (["seed=99999999999999999999"], r"seed: must be in 0\.\."),
        (
            ["controller=reinforce", "controller.learning_rate=inf"],
            "controller.learning_rate: must be positive and finite, got inf",
        ),
        (["search.cpus_per_trial=inf"], "search.cpus_per_trial: must be positive, got inf"),
        (["search.lag=1000"], "search.lag: must be at most 100, got 1000"),
        (["controller.hidden_size=3", "controller=random"], "controller.hidden_size: not a setting of the"),
        (["proxy_task.filter_size_scale=0.001"], "proxy_task.filter_size_scale: "),
        (["proxy_task.filter_size_scale=0.0625"], "proxy_task.resample_alpha: "),
        (["proxy_task.batch_size=1"], "proxy_task.batch_size: "),
        (["proxy_task.device=cuda"], "proxy_task.device: is cuda but torch sees no CUDA device"),
        (["name=a/b"], "name: must be a plain folder name, got 'a/b'"),
        (["search.max_failed_share=some"], "search.max_failed_share: must be a number, got 'some'"),
        (["proxy_task.flip=maybe"], "proxy_task.flip: must be true or false, got 'maybe'"),
        (
            ["mirror=file://mnt/runs", "name=x"],
            "mirror: a path after file:// must be absolute, as in file:///",
        ),
        (["search.num_workers"], "search.num_workers: settings are given as key=value"),
        (["data=coco"], "data.train_images: must be given, add data.train_images="),
    ],
)
def test_bad_settings(overrides, message, serial, tmp_path: Path, capsys):
    kept = [text for text in serial if not text.startswith("data.") or "data=coco" not in overrides]
    fails(["search", *kept, *overrides], message, capsys)
    assert not (tmp_path / "runs").exists()


def test_an_address_where_nobody_listens_is_reported_before_the_data_are_made(
    tmp_path: Path, capsys, monkeypatch
):
    """Which may take hours; and nothing has begun then."""
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # other tests of this process may have a Ray
    settings = [f"runs_dir={tmp_path / 'runs'}", f"data.cache_dir={tmp_path / 'cache'}", "name=run"]
    settings.append("search.ray_address=127.0.0.1:9")
    for command in (["search"], ["proxy", "variance"]):
        fails([*command, *settings], r"search.ray_address: no Ray at '127\.0\.0\.1:9'", capsys)
    assert list(tmp_path.iterdir()) == []


def test_words_that_are_no_command(capsys):
    fails(["serach"], "serach: there is no such command; did you mean search", capsys)
    fails(["dance"], "commands are search, resume, retry, stop, rerank, ls, show", capsys)
    for arguments in (["show"], ["show", "a", "b"], ["export", "x", "--top", "many"]):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_broken_data_is_reported_before_anything_is_written(coco, tmp_path: Path, capsys):
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
    fails(["resume", str(tmp_path / "absent")], "is not a run: there is no such folder", capsys)
    (tmp_path / "empty").mkdir()
    fails(["resume", str(tmp_path / "empty")], "is not a run: it has no ledger.jsonl", capsys)
    for command in ("show", "export"):
        fails([command, str(tmp_path / "empty")], "is not a run", capsys)

    assert main(["search", *serial, "name=run", "search.num_trials=2"]) == 0
    run_dir = tmp_path / "runs" / "run"
    ledger = run_dir / LEDGER_NAME
    before = ledger.read_bytes()
    resume = ["resume", str(run_dir)]
    fails([*resume, "seed=1"], "seed: this run was begun with 0 and cannot be continued with 1", capsys)
    fails([*resume, "controller.num_rounds=5"], "controller.num_rounds: this run was begun with 4", capsys)
    fails([*resume, "search.num_trials=1"], "search.num_trials: a run can grow but not shrink", capsys)
    fails([*resume, "controller=random"], "a resumed run takes settings of the form section.key", capsys)
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
    fails(["search", *serial, "name=mine"], "mine exists and is not a run; choose another name", capsys)


def test_a_run_that_another_process_began_meanwhile_is_left_alone(
    serial, tmp_path: Path, capsys, monkeypatch
):
    """B checks, A searches from beginning to end while B opens its data, B comes back."""
    from spinesearch.search import engine

    open_data = engine.open_data
    command = ["search", *serial, "name=run", "search.num_trials=2"]

    def slow(*arguments, **keywords):
        monkeypatch.setattr(engine, "open_data", open_data)
        assert main(command) == 0
        return open_data(*arguments, **keywords)

    monkeypatch.setattr(engine, "open_data", slow)
    fails(command, "another process began this run meanwhile", capsys)
    assert load_run(tmp_path / "runs" / "run")[0].num_done == 2


@pytest.mark.parametrize(
    ("block", "field", "value", "message"),
    [
        (5, "parents", [9, 3], r"block 7: parents must be earlier blocks, got \(9, 3\); valid ids are 0..6"),
        (
            5,
            "block_type",
            "basic",
            "block 7: block_type must be one of bottleneck, residual, mbconv, got 'basic'",
        ),
        (11, "is_output", False, "exactly one output block is needed at level 3, got none"),
        (5, "level", 9, r"block 7: level must be in 1..7, got 9"),
    ],
)
def test_a_bad_spec_file(block, field, value, message, tmp_path: Path, capsys):
    data = SPINENET_49.to_dict()
    del data["arch_id"]
    data["blocks"][block][field] = value
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(data))
    fails(["show", str(path)], message, capsys)
    fails(["show", str(tmp_path / "absent.json")], "absent.json: cannot be read: No such file", capsys)
    path.write_text(SPINENET_49.to_json())
    assert main(["show", str(path)]) == 0
    assert capsys.readouterr().out.startswith("spinenet49 (af6e18860979)\n\nblock     0 ")
