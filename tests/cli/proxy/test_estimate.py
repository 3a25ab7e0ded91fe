"""``spinesearch estimate`` and ``--dry-run``: what they print, what they refuse, and that nothing starts."""

import json
from pathlib import Path

import pytest
from cli_checks import fails

from spinesearch.cli.main import main

TRAINING = [
    "train=quick",
    "train.image_size=128",
    "train.num_epochs=4",
    "train.eval_every_epochs=3",
    "train.batch_size=4",
    "train.scale_jitter=[1.0,1.0]",
    "train.filter_size_scale=0.125",
    "train.endpoints_num_filters=16",
    "train.head_num_filters=16",
    "train.num_threads=1",
    "train.device=cpu",
    "data.num_images=8",
    "data.num_val_images=4",
]


def test_stated_rates_as_json(serial, tmp_path: Path, capsys):
    options = ["--seconds-per-candidate", "18000", "--price-per-gpu-hour", "4.4", "--watts", "300"]
    words = [*serial, "search.num_trials=1000", "search.generation_size=10"]
    assert main(["estimate", "search", *words, *options, "--workers", "8,1", "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["gpu_hours"] == pytest.approx(5000)
    assert "a worker of the stated pace occupies 1 GPU; search.gpus_per_trial=0 counts none" in found["notes"]
    assert found["price"] == pytest.approx(22_000) == found["published"]["dollars"]
    assert found["energy_kwh"] == pytest.approx(1500)
    assert found["wall_hours"] == {"1": pytest.approx(5000), "8": pytest.approx(625)}
    assert "1000 candidates of spinenet" in captured.err
    assert not (tmp_path / "runs").exists()


def test_a_stated_pace_on_the_cpu_counts_no_gpu(serial, capsys):
    words = ["estimate", "search", *serial, "proxy_task.device=cpu", "--json"]
    words += ["--seconds-per-candidate", "60"]
    for more, hours in (([], None), (["search.gpus_per_trial=0.5"], 12 / 60 / 2)):
        assert main([*words, "search.num_trials=12", *more]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["gpu_hours"] == (None if hours is None else pytest.approx(hours))
        assert any("GPU" in note for note in found["notes"]) == (hours is not None)


def test_bad_words(serial, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # another test of this process may have left one
    command = ["estimate", "search", *serial]
    fails(["estimate", "serch"], "estimate serch: there is no such command; give one of", capsys)
    for option, value, rule in (
        ("--steps", "0", "a whole number of at least 1"),
        ("--watts", "0", "a positive number"),
        ("--duplicates", "1", "a number from 0 to below 1"),
        ("--workers", "x", "a whole number of at least 1"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main([*command, option, value])
        assert stopped.value.code == 2
        assert f"argument {option}: must be {rule}, got {value}; see" in capsys.readouterr().err
    fails(["estimate", "train"], "MODEL: must be given", capsys)
    for run in (["search", "--dry-run"], ["estimate", "search"]):
        fails([*run, *serial, "search.lag=-1"], "search.lag: must be at least 0", capsys)
        fails([*run, *serial, "search.initial=[nothing]"], "search.initial: ", capsys)
        missing = "search.ray_address=127.0.0.1:1"
        fails([*run, *[w for w in serial if "engine" not in w], missing], "search.ray_address: ", capsys)
    fails(["train", "spinenet49", "--dry-run", *TRAINING, "train.lr=0"], "train.lr: must be", capsys)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_search_is_measured_and_not_started(serial, tmp_path: Path, capsys):
    words = [*serial, "search.finalists=1", "name=run"]
    assert main(["search", *words, "--dry-run"]) == 0
    out = capsys.readouterr().out
    for text in (
        "measuring 5 steps of a typical candidate here",
        "6 candidates of spinenet, then 1 finalist and 2 baselines, 2 seeds each",
        "pace: measured here: 5 steps of a typical candidate",
        "in all ",
        "with    1 worker ",
        "1,000 candidates for 5,000 V100-hours, about $22,000",
    ):
        assert text in out
    assert not (tmp_path / "runs").exists()
    fails(
        ["estimate", "search", *words, "--price-per-gpu-hour", "2"],
        "--price-per-gpu-hour: nothing here runs on a GPU",
        capsys,
    )
    assert main(["search", *words]) == 0
    assert main(["search", *words, "search.num_trials=8", "--dry-run"]) == 0
    assert "2 candidates of spinenet, 6 being done" in capsys.readouterr().out


@pytest.mark.slow
def test_a_training_is_measured_and_not_started(tmp_path: Path, cache_dir: Path, capsys):
    words = [*TRAINING, f"data.cache_dir={cache_dir}", f"runs_dir={tmp_path / 'runs'}", "name=t"]
    assert main(["estimate", "train", "spinenet49", *words, "--watts", "100", "--json", "--steps", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(part["name"], part["count"]) for part in found["parts"]] == [("steps", 8), ("measurements", 2)]
    assert found["worker_hours"] > 0
    assert found["energy_kwh"] == pytest.approx(found["worker_hours"] / 10)
    assert found["price"] is None
    assert main(["train", "spinenet49", *words, "--dry-run"]) == 0
    assert "spinenet49: 8 steps of 4 images, 4 epochs of 8" in capsys.readouterr().out
    stated = ["estimate", "train", "spinenet49", *TRAINING, "--seconds-per-step", "1"]
    stated.append(f"data.cache_dir={cache_dir}")
    fails([*stated, "train.frozen=[neck]"], "train.frozen: the network has no part called 'neck'", capsys)
    fails([*stated, f"init_from={tmp_path / 'no.safetensors'}"], "no.safetensors", capsys)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.ray
def test_a_training_on_ray_is_measured_by_a_worker(cluster, tmp_path: Path, cache_dir: Path, capsys):
    words = [*TRAINING, f"data.cache_dir={cache_dir}", f"runs_dir={tmp_path / 'runs'}", "--steps", "2"]
    assert main(["estimate", "train", "spinenet49", *words, "search.num_workers=2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pace"] == "measured on a worker of local: 2 steps of its share"
    assert set(found["wall_hours"]) == {"1", "2", "8"}
    assert found["worker_hours"] > 0
    fails(
        ["train", "spinenet49", *words[:-2], "search.num_workers=9", "--dry-run"],
        "search.num_workers: 9 workers need 1 CPU and 0 GPU each, and this Ray has room for 2; give fewer",
        capsys,
    )
    assert not (tmp_path / "runs").exists()
