"""Runs, studies and packs that earlier commits wrote still show, resume, grow and export."""

import json
import shutil
from pathlib import Path

import pytest

from spinesearch import build_backbone
from spinesearch.cli.main import main
from spinesearch.data.open import CocoDataSettings
from spinesearch.data.reopen import reopen_data

FIXTURE = Path(__file__).parents[2] / "fixtures" / "november_2026"


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A copy to work on; nobody could write into the original."""
    shutil.copytree(FIXTURE, tmp_path / "earlier")
    return tmp_path / "earlier"


@pytest.fixture
def moved(earlier: Path) -> list[str]:
    """The settings that a run needs whose data are elsewhere now."""
    return [
        f"data.train_images={earlier / 'images'}",
        f"data.train_annotations={earlier / 'instances.json'}",
        f"data.cache_dir={earlier / 'cache'}",
    ]


def results(run_dir: Path) -> list[dict]:
    events = [json.loads(line) for line in (run_dir / "ledger.jsonl").read_text().splitlines()]
    return [event for event in events if event["event"] == "result"]


def test_a_search_is_shown_resumed_extended_and_exported(earlier: Path, moved: list[str], capsys):
    run_dir = earlier / "runs" / "search"
    before = (run_dir / "ledger.jsonl").read_bytes()
    assert main(["show", str(run_dir)]) == 0
    shown = capsys.readouterr().out
    best = max((r for r in results(run_dir) if r["status"] == "completed"), key=lambda r: r["reward"])
    assert f"{best['reward']:.3f}" in shown
    assert main(["resume", str(run_dir), *moved]) == 0  # it is complete: nothing is trained again
    assert len(results(run_dir)) == 5
    assert main(["resume", str(run_dir), *moved, "search.num_trials=6"]) == 0
    assert (run_dir / "ledger.jsonl").read_bytes().startswith(before)
    assert len(results(run_dir)) == 6
    capsys.readouterr()
    assert main(["export", str(run_dir), "--top", "1"]) == 0
    (exported,) = (run_dir / "export").glob("01_*.json")
    build_backbone(str(exported))
    assert main(["rerank", str(run_dir), *moved, "--top", "1", "--seeds", "1", "proxy_task.num_steps=1"]) == 0
    assert len(results(run_dir)) == 9
    assert "resnet50_fpn" in capsys.readouterr().out


def test_a_pack_is_opened_and_has_the_key_it_had(earlier: Path):
    """As a worker opens it: by the key in the ledger, without the images and without building anything."""
    shutil.rmtree(earlier / "images")
    settings = CocoDataSettings(
        train_images=str(earlier / "images"),
        train_annotations=str(earlier / "instances.json"),
        held_out_share=0.4,
        storage="jpeg",
        cache_dir=str(earlier / "cache"),
    )
    with (earlier / "runs" / "search" / "ledger.jsonl").open() as file:
        recorded = json.loads(file.readline())["data"]
    data = reopen_data(settings, image_size=128, key=recorded["key"])
    assert len(data.train_index) == recorded["num_train_images"]
    assert len(data.held_out_index) == recorded["num_held_out_images"]


def test_studies_are_shown_resumed_and_extended(earlier: Path, moved: list[str], capsys):
    for name, count in (("variance", 4), ("correlation", 6)):
        run_dir = earlier / "runs" / name
        assert main(["show", str(run_dir)]) == 0
        assert "tau" in (shown := capsys.readouterr().out) or "ICC" in shown
        assert main(["resume", str(run_dir), *moved]) == 0
        assert len(results(run_dir)) == count
    config = [
        *moved,
        "data=coco",
        "data.storage=jpeg",
        "data.held_out_share=0.4",
        "search.engine=serial",
        "proxy_task.num_steps=2",
        "proxy_task.batch_size=4",
        "proxy_task.filter_size_scale=0.125",
        "proxy_task.bn_recalibration_batches=1",
    ]
    command = ["proxy", "variance", *config, f"runs_dir={earlier / 'runs'}", "name=variance"]
    assert main([*command, "--archs", "3", "--seeds", "2"]) == 0
    assert len(results(earlier / "runs" / "variance")) == 6
