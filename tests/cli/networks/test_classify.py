"""Classification by the commands: trained, resumed, refused; evaluated, predicted, exported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from class_folders import write_class_folders
from cli_checks import fails
from trained_run import command

from spinesearch import load_classifier
from spinesearch.cli.main import main
from spinesearch.results.ledger.run import load_run
from spinesearch.search.estimate.line import recorded_steps


def class_command(folder: Path, *words: str) -> list[str]:
    """The command that trains a network of seven blocks on twelve images of two colours, for four steps."""
    return [
        word
        for word in command(folder, folder / "cache", *words)
        if not word.startswith(("data.num_", "train.image_size", "train.head", "train.num_scales"))
    ] + [
        "train.task=classification",
        "train.image_size=40",  # no multiple of 128
        "train.label_smoothing=0.1",
        "train.bn_momentum=0.5",
        "data=classes",
        f"data.train_images={folder / 'train'}",
        f"data.val_images={folder / 'val'}",
    ]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of that training, finished."""
    folder = tmp_path_factory.mktemp("classes")
    write_class_folders(folder / "train", 4)
    write_class_folders(folder / "val", 2, seed=1)
    assert main(class_command(folder)) == 0
    return folder / "runs" / "run"


def test_a_training_records_its_task_and_shows_its_scores(run_dir: Path, capsys):
    run, _ = load_run(run_dir)
    assert run.config["train"]["task"] == "classification"
    assert [sorted(event["scores"]) for event in run.measurements] == [["top1", "top5"]] * 2
    assert run.measurements[-1]["scores"]["top5"] == 1.0  # of two classes
    assert run.training["model"]["model"]["kind"] == "classifier"
    classifier = load_classifier(run_dir / "weights" / "last.safetensors")
    assert classifier.inference.class_names == ("green", "red")
    assert "Classifier trained by" in (run_dir / "weights" / "README.md").read_text()
    assert recorded_steps(run_dir, run) is None or run.measurements
    assert main(["show", str(run_dir)]) == 0
    shown = capsys.readouterr().out
    assert "best top1" in shown
    assert "AP" not in shown


def test_what_does_not_fit_the_task_is_one_line(run_dir: Path, tmp_path: Path, capsys):
    folder = run_dir.parents[1]
    other = ["train.task=detection", "train.label_smoothing=0", "train.image_size=128"]
    fails(["resume", str(run_dir), *other], r"train.task: detection needs .* got data=classes", capsys)
    fails(["resume", str(run_dir), "train.label_smoothing=0.2"], r"train.label_smoothing: .*0.1", capsys)
    base = command(tmp_path, tmp_path / "cache")
    fails(
        [*base, "train.task=classification"],
        r"train.task: classification needs .* got data=generated",
        capsys,
    )
    fails([*base, "train.task=segmentation"], r"train.task: must be one of detection, classification", capsys)
    fails(
        [*base, "train.label_smoothing=0.1"],
        r"train.label_smoothing: must be 0 for the task detection",
        capsys,
    )
    fails([*class_command(folder, "name=b"), "train.image_size=31"], r"train.image_size: .*from 32", capsys)
    search = [
        "search",
        "proxy_task=small",
        "proxy_task.task=classification",
        "data=classes",
        "data.train_images=.",
    ]
    fails(
        search,
        r"search.reward_metric: must be one of top1, top5 for proxy_task.task=classification, got 'ar100'; "
        r"give search.reward_metric=top1 search.finalist_metric=top1$",
        capsys,
    )
    mask = "detector=mask_rcnn"
    fails([*class_command(folder, "name=b"), f"train.{mask}"], r"train.detector: must be retinanet", capsys)
    fails([*search, f"proxy_task.{mask}"], r"proxy_task.detector: must be retinanet", capsys)
    fails(["search", "proxy_task.task=classification"], r"proxy_task.merge_classes: must be false", capsys)
    assert not list(tmp_path.glob("runs"))


def test_evaluate_and_predict(run_dir: Path, tmp_path: Path, capsys):
    val = run_dir.parents[1] / "val"
    words = ["data=classes", f"data.val_images={val}", f"data.cache_dir={tmp_path / 'cache'}"]
    output = tmp_path / "found.json"
    assert main(["evaluate", str(run_dir), *words, "--json", "--output", str(output)]) == 0
    scores = json.loads(capsys.readouterr().out)
    run, _ = load_run(run_dir)
    assert scores["top1"] == max(event["scores"]["top1"] for event in run.measurements)
    rows = json.loads(output.read_text())
    assert [row["class"] for row in rows] == ["green", "green", "red", "red"]
    assert scores["top1"] == sum(row["found"][0]["name"] == row["class"] for row in rows) / 4
    for name in ("green", "red"):
        found = [row["found"][0]["name"] for row in rows if row["class"] == name]
        assert scores["class_top1"][name] == found.count(name) / 2
    assert list(scores["class_top1"].values()) == sorted(scores["class_top1"].values())
    assert main(["evaluate", str(run_dir), *words]) == 0
    assert "top-1 by class" in capsys.readouterr().out
    fails(
        ["evaluate", str(run_dir)],
        r"WEIGHTS: are a classifier's, which needs data=classes, .*; give data=classes data.val_images=DIR",
        capsys,
    )

    arguments = ["predict", str(run_dir), str(val / "red"), "-o", str(tmp_path / "out")]
    fails([*arguments, "--threshold", "0.5"], r"--threshold: is of boxes", capsys)
    assert main([*arguments, "--top-k", "1"]) == 0
    predicted = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [len(record["classes"]) for record in predicted] == [1, 1]
    # The same as in evaluation, whose images are packed: fitted into the square by the same rule.
    assert [record["classes"][0]["name"] for record in predicted] == [
        row["found"][0]["name"] for row in rows[2:]
    ]


@pytest.mark.slow
def test_export(run_dir: Path, tmp_path: Path, capsys):
    weights = run_dir / "weights" / "best.safetensors"
    fails(
        ["export", str(weights), "--format", "python", "--base-anchor", "3"],
        "a classifier has no anchors",
        capsys,
    )
    assert main(["export", str(weights), "--format", "torch", "-o", str(tmp_path / "net.pt2")]) == 0
    images = torch.rand(3, 3, 40, 40)
    with torch.no_grad():
        want = load_classifier(weights)(images)
        torch.testing.assert_close(torch.export.load(tmp_path / "net.pt2").module()(images), want)
        assert main(["export", str(weights), "--format", "python", "-o", str(tmp_path / "net.py")]) == 0
    code = "import net; print(net.CLASS_NAMES)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "('green', 'red')\n"


@pytest.mark.slow
def test_weights_pass_to_detection_and_back(run_dir: Path, tmp_path: Path, capsys):
    weights = run_dir / "weights" / "best.safetensors"
    base = command(tmp_path, tmp_path / "cache", "train.num_epochs=0.5")
    assert main([*base, f"init_from={weights}"]) == 0
    assert "2 are left over: head.linear.bias, head.linear.weight" in capsys.readouterr().out
    found = tmp_path / "runs" / "run" / "weights" / "last.safetensors"
    folder = run_dir.parents[1]
    back = class_command(folder, "name=back", "train.num_epochs=0.5", f"init_from={found}")
    assert main(back) == 0
    assert "2 keep their initial values: head.linear.weight" in capsys.readouterr().out


@pytest.mark.slow
def test_a_search_for_classifiers(run_dir: Path, capsys):
    folder = run_dir.parents[1]
    words = [
        "search",
        f"runs_dir={folder / 'runs'}",
        "name=found",
        "proxy_task=small",
        "proxy_task.task=classification",
        "proxy_task.image_size=40",
        "proxy_task.num_steps=3",
        "proxy_task.batch_size=4",
        "proxy_task.warmup_steps=1",
        "proxy_task.bn_recalibration_batches=1",
        "data=classes",
        f"data.train_images={folder / 'train'}",
        f"data.cache_dir={folder / 'cache'}",
        "search.engine=serial",
        "search.num_trials=2",
        "search.generation_size=2",
        "search.finalists=1",
        "search.finalist_seeds=1",
        "search.finalist_length=1.0",
        "search.reward_metric=top1",
        "search.finalist_metric=top1",
    ]
    assert main(words) == 0
    run, _ = load_run(folder / "runs" / "found")
    trials = [trial for trial in run.trials if trial.status == "completed"]
    assert trials
    assert all(trial.reward == trial.metrics["top1"] and "ap" not in trial.metrics for trial in trials)
    assert "coverage" not in run.sessions[0]
    capsys.readouterr()
    assert main(["show", str(folder / "runs" / "found")]) == 0
    assert (
        main(["export", str(folder / "runs" / "found"), "--format", "python", "-o", str(folder / "n.py")])
        == 0
    )
    fails(
        ["resume", str(folder / "runs" / "found"), "proxy_task.label_smoothing=0.1"],
        "proxy_task.label_smoothing",
        capsys,
    )
