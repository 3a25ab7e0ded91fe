"""``spinesearch train`` and ``resume`` on a training: what is recorded, kept, refused and resumed."""

import errno
import json
import os
import random
import re
import shutil
import signal
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml
from cli_checks import fails
from cli_process import start
from marked_processes import wait_for_checkpoint
from rich.console import Console
from safetensors.torch import load_file, save_file
from tiny_training import assert_equal_states
from trained_run import NUM_STEPS, command, train_run

import spinesearch
from spinesearch import load_detector, save_weights
from spinesearch.cli.main import main
from spinesearch.cli.networks.train import _stop_on_signals
from spinesearch.results.ledger.run import Run, load_run
from spinesearch.search.config.run_config import ConfigError, compose
from spinesearch.search.config.sections import TRAINING
from spinesearch.search.training import recorder
from spinesearch.search.training.model_card import model_card
from spinesearch.search.training.model_source import file_source, published_source
from spinesearch.search.training.prepare import prepare_training
from spinesearch.search.training.train_config import train_config
from spinesearch.training.process.group import ProcessGroup
from spinesearch.training.step import divergence
from spinesearch.training.step.divergence import TrainingDiverged


def test_a_training_leaves_weights_that_say_what_they_are(trained):
    run, _ = load_run(trained)
    assert [event["step"] for event in run.measurements] == [2, NUM_STEPS]
    assert sorted(path.name for path in (trained / "weights").iterdir()) == [
        "README.md",
        "best.json",
        "best.safetensors",
        "last.json",
        "last.safetensors",
    ]
    described = json.loads((trained / "weights" / "last.json").read_text())
    assert described["training"]["step"] == NUM_STEPS
    assert described["training"]["data"]["key"] == run.sessions[0]["data"]["key"]
    assert described["inference"]["class_names"] == ["disk", "ring", "triangle", "square", "star"]
    detector = load_detector(trained / "weights" / "last.safetensors")
    assert detector.inference.image_size == 128
    card = (trained / "weights" / "README.md").read_text()
    for text in ("| AP |", "| AP of disk |", run.sessions[0]["data"]["key"], "\n  lr: 0.05\n", "tiny.json"):
        assert text in card
    assert len(list((trained / "checkpoints").iterdir())) == 2
    assert list((trained / "tensorboard").iterdir())


def test_where_an_architecture_comes_from_stays_known_through_files(trained, tmp_path):
    """A spec that a search exported, and weights trained from it: their card names run and trial."""
    described = json.loads((trained / "weights" / "last.json").read_text())
    found = {"run": "s", "trial": 7, "reward": {"value": 0.1}}
    spec = {key: described[key] for key in ("schema_version", "name", "stem", "blocks")}
    (tmp_path / "spec.json").write_text(json.dumps({**spec, "provenance": found}))
    exported = file_source(tmp_path / "spec.json").origin
    assert exported == {"provenance": found, "file": str(tmp_path / "spec.json")}
    described["training"]["source"] = exported
    (tmp_path / "weights.json").write_text(json.dumps(described))
    origin = file_source(tmp_path / "weights.json").origin
    assert origin == {"provenance": found, "file": str(tmp_path / "weights.json")}
    run, _ = load_run(trained)
    run.sessions[0]["training"]["source"] = origin
    run.sessions[-1]["config"]["init_from"] = "old.safetensors"
    card = model_card(run, run.measurements)
    for line in ("- run: s", "- trial: 7", f"- file: {tmp_path / 'weights.json'}"):
        assert line in card.splitlines()
    assert "| begun from | old.safetensors |" in card
    (recipe,) = re.findall("```yaml\n(.*)```", card, re.DOTALL)
    assert yaml.safe_load(recipe) == {"train": run.config["train"]}


def test_a_card_names_the_kind_of_network_and_the_function_that_reads_it(trained):
    run, _ = load_run(trained)
    for kind, text, loader in (
        ("detector", "Detector trained by", "load_detector"),
        ("mask_rcnn", "Mask R-CNN trained by", "load_detector"),
        ("classifier", "Classifier trained by", "load_classifier"),
    ):
        run.sessions[0]["training"]["model"]["model"]["kind"] = kind
        card = model_card(run, run.measurements)
        assert text in card
        assert f"`spinesearch.{loader}` in Python" in card
        assert hasattr(spinesearch, loader)
        assert "masks" not in card


def test_a_card_gives_the_scores_of_masks_too(trained):
    run, _ = load_run(trained)
    masks = {"mask_scores": {"AP": 0.25, "AP50": None}, "mask_class_aps": {"sq|are": 0.5}}
    rows = model_card(run, [{**measurement, **masks} for measurement in run.measurements]).splitlines()
    place = rows.index("| masks: AP | 0.2500 | 0.2500 |")
    assert rows[place : place + 4] == [
        "| masks: AP | 0.2500 | 0.2500 |",
        "| masks: AP50 | - | - |",
        "| masks: AP of sq\\|are | 0.5000 | 0.5000 |",
        "",
    ]


def test_a_fusion_that_a_network_cannot_have_is_refused_before_data_are_opened(tmp_path: Path, capsys):
    words = [f"data.cache_dir={tmp_path / 'cache'}", f"runs_dir={tmp_path}", "train.fusion=attention"]
    for name, rule in (("spinenet_mobile49", "attention shares"), ("resnet50_fpn", "resnet50_fpn has none")):
        fails(["train", name, "train=quick", *words], f"train.fusion: {rule}.*; give fusion=sum", capsys)
    assert not list(tmp_path.iterdir())


def test_a_finished_training_says_so_and_show_prints_it(trained, capsys):
    assert main(["resume", str(trained)]) == 0
    assert "complete, all 4 steps are taken" in capsys.readouterr().out
    assert main(["show", str(trained)]) == 0
    shown = capsys.readouterr().out
    assert "tiny: measured up to step 4 of 4" in shown
    assert "triangle" in shown


def test_what_cannot_be_trained_is_refused_in_a_line(tmp_path, cache_dir, trained, recorded_run, capsys):
    base = command(tmp_path, cache_dir)
    fails([*base, "train.lr=0"], r"train.lr: must be a finite number above 0, got 0", capsys)
    fails(
        [*base, "train=step"],
        r"train: must be one of finetune, imagenet, .*, protocol_a",
        capsys,
    )
    fails([*base, "proxy_task.lr=1"], r"proxy_task.lr: `spinesearch train` has no such setting", capsys)
    fails(["search", "train.lr=1"], r"train.lr: `spinesearch search` has no such setting", capsys)
    fails([*base, "train.frozen=[neck]"], r"train.frozen: .* no part called 'neck'", capsys)
    fails([*base, "train.schedule=step"], r"train.decay_epochs: the step schedule needs", capsys)
    fails([*base, "data.num_val_images=0"], r"data.num_val_images: must be at least 1", capsys)
    fails([*base, "train.batch_size=1"], r"train.batch_size: at image_size 128 at least 2 images", capsys)
    tensors = load_file(trained / "weights" / "last.safetensors")
    name = next(name for name in tensors if name.endswith("running_var"))
    for value, message in (
        (tensors[name].long(), "holds torch.int64 where the model has torch.float32"),
        (-tensors[name], "holds negative numbers"),
        (tensors[name].double() * 1e300, "holds numbers that are not finite in torch.float32"),
    ):
        odd = tmp_path / "odd.safetensors"
        save_file({**tensors, name: value}, odd)
        fails([*base, f"init_from={odd}"], rf"init_from: .*odd.safetensors: {name} {message}", capsys)
    fails(["train", "spinenet50"], r"nothing published .*spinenet49", capsys)
    fails(["train"], r"MODEL: must be given", capsys)
    fails(["train", str(recorded_run), "--rank", "2"], r"--rank: must be in 1..1, .*, got 2", capsys)
    fails(["train", str(trained)], r"MODEL: .* is a training, not a search", capsys)
    fails(["rerank", str(trained)], r"is a training, which has no best; give a search", capsys)
    fails(["search", f"search.warm_start={trained}"], r"search.warm_start: .* holds a training", capsys)
    folder = [f"runs_dir={trained.parent}", f"name={trained.name}"]
    fails(["search", *folder], r"holds a training, not a search", capsys)
    fails(["proxy", "variance", *folder], r"name: this folder holds a training", capsys)
    assert not (tmp_path / "runs" / "run").exists()


def test_weights_to_begin_from_are_looked_for_before_data_are_opened(tmp_path, capsys):
    cache = tmp_path / "cache"
    base = command(tmp_path, cache)
    (tmp_path / "w.pt").touch()
    fails([*base, "init_from=none.safetensors"], r"init_from: .*none.safetensors: there is no such", capsys)
    fails([*base, f"init_from={tmp_path / 'w.pt'}"], r"w.pt: is not a weight file; give one", capsys)
    assert not cache.exists()


def test_a_batch_that_leaves_a_process_without_its_part_of_a_step_is_refused(tmp_path):
    class Three(ProcessGroup):
        def __init__(self) -> None:
            self.rank, self.size = 0, 3

    config = train_config(compose(["train.batch_size=4", "train.micro_batch_size=1"], TRAINING))
    message = r"train.batch_size: 4 images leave one of 3 processes with 1 for the 2 parts of a step"
    with pytest.raises(ConfigError, match=message):
        prepare_training(config, published_source("spinenet49"), Run(), tmp_path, Console(), Three())


def test_a_training_is_not_gone_on_with_as_another(trained, tmp_path, cache_dir, capsys):
    shutil.copytree(trained, tmp_path / "runs" / "run")
    (tmp_path / "runs" / "run" / "lease").unlink()
    base = command(tmp_path, cache_dir)
    fails([*base, "train.batch_size=2"], r"train.batch_size: this run was begun with 4 and cannot", capsys)
    run_dir = str(tmp_path / "runs" / "run")
    fails(["resume", run_dir, "train.lr=0.1"], r"train.lr: this run was begun with 0.05", capsys)
    message = r"trains another model \(tiny\); choose another name, or go on with that one by `spinesearch"
    fails(["train", "resnet50_fpn", *base[2:], "train.head_num_filters=8"], message, capsys)


def test_the_network_of_a_search_is_trained_and_named(recorded_run, tmp_path, cache_dir):
    words = command(tmp_path, cache_dir)[2:]
    assert main(["train", str(recorded_run), "--rank", "1", *words, "train.num_epochs=0.5"]) == 0
    run, _ = load_run(tmp_path / "runs" / "run")
    assert run.training["source"]["run"] == "run"
    assert run.training["source"]["trial"] == 0
    notes = json.loads((tmp_path / "runs" / "run" / "weights" / "best.json").read_text())
    assert notes["training"]["source"] == run.training["source"]


def test_weights_are_begun_from_and_what_does_not_fit_is_listed(trained, tmp_path, cache_dir, capsys):
    weights = trained / "weights" / "last.safetensors"
    begun = f"init_from={weights}"
    train_run(tmp_path, cache_dir, begun, "train.frozen=[backbone]", "train.head_num_convs=0")
    said = capsys.readouterr().out
    assert "init_from: " in said
    assert "tensors are taken" in said
    assert "are left over: head.box_net.convs.0.bias" in said
    before, after = load_file(weights), load_file(tmp_path / "runs" / "run" / "weights" / "last.safetensors")
    backbone = [name for name in after if name.startswith("backbone.")]
    assert_equal_states({name: after[name] for name in backbone}, {name: before[name] for name in backbone})


def test_a_loss_that_is_not_finite_stops_and_another_rate_goes_on(tmp_path, cache_dir, capsys, monkeypatch):
    real = divergence.LossWatch.watch

    def watch(self, step, loss, norm):
        if step == 3:
            raise TrainingDiverged(step)
        real(self, step, loss, norm)

    base = command(tmp_path, cache_dir)
    with monkeypatch.context() as patch:
        patch.setattr(divergence.LossWatch, "watch", watch)
        assert main(base) == 1
    said = capsys.readouterr().err
    run_dir = tmp_path / "runs" / "run"
    assert f"the last good checkpoint is {run_dir / 'checkpoints' / 'step-000000002.ckpt'}" in said
    fails(["resume", str(run_dir)], r"train.lr: the training diverged with 0.05, and would again", capsys)
    assert main(["resume", str(run_dir), "train.lr=0.01"]) == 0
    run, _ = load_run(run_dir)
    assert [session["config"]["train"]["lr"] for session in run.sessions] == [0.05, 0.01]
    assert [event["step"] for event in run.measurements] == [2, NUM_STEPS]


def test_a_full_disk_while_weights_are_written_ends_nothing(tmp_path, cache_dir, capsys, monkeypatch):
    calls: list[Path] = []

    def save(model, path, **options):
        calls.append(path)
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save_weights(model, path, **options)

    monkeypatch.setattr(recorder, "save_weights", save)
    run_dir = train_run(tmp_path, cache_dir)
    said = " ".join(capsys.readouterr().out.split())
    assert "No space left on device" in said
    assert "the training goes on, and tries again: make room" in said
    assert json.loads((run_dir / "weights" / "best.json").read_text())["training"]["step"] == NUM_STEPS
    run, _ = load_run(run_dir)
    assert [event["step"] for event in run.measurements] == [2, NUM_STEPS]


@pytest.mark.slow
@pytest.mark.faults
def test_kill_9_three_times_ends_bit_equal(trained, tmp_path, cache_dir):
    moments = random.Random(0)
    words = command(tmp_path, cache_dir, "train.num_epochs=20")
    whole = train_run(tmp_path / "whole", cache_dir, "train.num_epochs=20")
    for _ in range(3):
        process = start(words)
        wait_for_checkpoint(tmp_path / "runs" / "run", process)
        time.sleep(moments.uniform(0, 2))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert main(words) == 0
    name = "weights/last.safetensors"
    assert_equal_states(load_file(tmp_path / "runs" / "run" / name), load_file(whole / name))


@pytest.mark.parametrize("number", [None, signal.SIGTERM, signal.SIGINT])
def test_a_signal_too_late_to_stop_a_training_ends_the_command(number):
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    with nullcontext() if number is None else pytest.raises(KeyboardInterrupt), _stop_on_signals() as stop:
        assert not stop()
        if number is not None:
            signal.raise_signal(number)  # nobody asks after that
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.mark.slow
@pytest.mark.faults
def test_sigterm_leaves_a_checkpoint_and_says_how_to_go_on(tmp_path, cache_dir):
    process = start(command(tmp_path, cache_dir, "train.num_epochs=2000"))
    wait_for_checkpoint(tmp_path / "runs" / "run", process)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "spinesearch resume" in said
    assert "Traceback" not in said
