"""``spinesearch export`` of a training: its best weights, under its name."""

import shutil
from pathlib import Path

from cli_checks import fails
from tiny_models import TINY

from spinesearch.cli.main import main
from spinesearch.space import load_spec


def test_the_best_weights_of_a_training_are_exported(trained, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, "runs/mine")
    assert main(["export", "mine"]) == 0
    assert load_spec("mine.json").arch_id == TINY.arch_id
    assert main(["export", "mine", "--format", "python"]) == 0
    assert main(["export", "runs/mine/weights/best.safetensors", "--format", "python"]) == 0
    assert Path("mine.pt").stat().st_size == Path("best.pt").stat().st_size
    fails(["export", "mine", "--rank", "2"], "--rank: is for a search, and mine is a training", capsys)
    fails(["export", "mine", "--format", "csv"], "--format csv: is for a search, and mine is a", capsys)
    fails(["export", "mine", "--top", "2"], "--top: is for --format json, of a run, and this is json", capsys)
    Path("runs/mine/weights/best.safetensors").unlink()
    fails(["export", "mine"], "runs/mine is a folder without weights/best.safetensors; give a file", capsys)
