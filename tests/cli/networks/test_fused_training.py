"""A training with attention between features goes through every command that reads its weights."""

import json
import subprocess
import sys

import pytest
from cli_checks import fails
from trained_run import command, train_run

from spinesearch.cli.main import main

TOP_K = ("--top-k", "2")


@pytest.mark.slow
def test_attention_is_trained_resumed_evaluated_predicted_and_exported(tmp_path, cache_dir, capsys):
    run = train_run(tmp_path, cache_dir, "train.fusion=attention")
    weights = run / "weights" / "last.safetensors"
    assert json.loads(weights.with_suffix(".json").read_text())["model"]["fusion"] == "attention"
    other = command(tmp_path, cache_dir, "train.fusion=weighted")
    fails(other, r"train.fusion: .*attention.*weighted|train.fusion: .*weighted.*attention", capsys)

    data = [f"data.cache_dir={cache_dir}", "data.num_images=8", "data.num_val_images=4"]
    capsys.readouterr()
    found = []
    for words in ((), TOP_K):
        assert main(["evaluate", str(weights), "--json", *words, *data]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0]["num_images"] == found[1]["num_images"] == 4
    fails(["evaluate", str(weights), "--top-k", "0", *data], r"--top-k: must be at least 1, got 0", capsys)

    image = next(cache_dir.glob("generated/*/val/*.jpg"))
    assert main(["predict", str(weights), str(image), "--output", str(tmp_path / "found")]) == 0
    exported = tmp_path / "net.py"
    assert main(["export", str(weights), "--format", "python", "--output", str(exported)]) == 0
    ran = subprocess.run([sys.executable, str(exported)], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("(1, ")

    # Its description is a network to train as well: with the same fusion unless settings say otherwise.
    again = ["train", str(weights.with_suffix(".json")), *command(tmp_path, cache_dir)[2:], "name=again"]
    assert main(again) == 0
    description = json.loads((run.parent / "again" / "weights" / "last.json").read_text())
    assert description["model"]["fusion"] == "attention"


def test_networks_that_sum_have_no_weights_to_leave_out(trained, cache_dir, capsys):
    weights = str(trained / "weights" / "last.safetensors")
    fails(["evaluate", weights, *TOP_K], r"--top-k: the network sums its inputs; train one with", capsys)


@pytest.mark.slow
def test_a_search_with_attention_finds_networks_that_are_trained_with_it(tmp_path, cache_dir, capsys):
    words = [
        *("search", f"runs_dir={tmp_path}", "name=found", "search.engine=serial", "search.num_trials=1"),
        *("search.generation_size=1", "search.finalists=0", "controller=random"),
        *("proxy_task.fusion=attention", "proxy_task.num_steps=1", "proxy_task.batch_size=2"),
        *("proxy_task.bn_recalibration_batches=0", f"data.cache_dir={cache_dir}", "data.num_images=8"),
        *("data.num_val_images=4", "proxy_task.device=cpu", "search.num_workers=1"),
    ]
    assert main(words) == 0
    fails([*words, "proxy_task.fusion=sum"], r"proxy_task.fusion", capsys)
    train = ["train", str(tmp_path / "found"), *command(tmp_path, cache_dir)[2:], "name=trained"]
    assert main(train) == 0
    description = json.loads((tmp_path / "runs" / "trained" / "weights" / "last.json").read_text())
    assert description["model"]["fusion"] == "attention"
