"""Searches on copies of pictures, and on images of their own to score on: begun, continued, recorded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_checks import fails
from picture_sets import picture, roboflow_files, save_set

from spinesearch.cli.main import main
from spinesearch.data.open import ProxyData
from spinesearch.proxy_task.result import TaskResult
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.results.ledger.run import load_run
from spinesearch.search.config.run_config import RunConfig
from spinesearch.search.scoring.scorer import Score


def command_on(folder: Path, serial: list[str], *overrides: str) -> list[str]:
    settings = [text for text in serial if not text.startswith(("data.num", "data.object"))]
    return [
        "search",
        *settings,
        "name=run",
        "data=coco",
        f"data.train_images={folder / 'images'}",
        f"data.train_annotations={folder / 'instances.json'}",
        f"data.cache_dir={folder / 'cache'}",
        "search.num_trials=1",
        *overrides,
    ]


def scored_without_training(settings: ProxySettings, data: ProxyData) -> Score:
    """What scores candidates, for tests of what stands around it."""
    result = TaskResult(
        ap=0.5,
        ap50=0.6,
        ap75=0.5,
        ap_small=None,
        ap_medium=None,
        ap_large=None,
        ar100=0.7,
        loss=1.0,
        mean_loss=1.0,
        num_steps=2,
        num_parameters=3,
        num_multiply_adds=4,
        seconds=0.1,
        train_seconds=0.1,
        images_per_s=10.0,
    )
    return lambda spec, seed: result.to_dict()


def test_the_split_goes_by_picture_and_a_run_begun_before_keeps_its_own(
    serial: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spinesearch.search.engine.proxy_score", scored_without_training)
    save_set(tmp_path, roboflow_files(6))
    command = command_on(tmp_path, serial)
    run_dir = tmp_path / "runs" / "run"
    # A run as the release before would have begun it.
    to_dict = RunConfig.to_dict

    def without_the_rule(config: RunConfig) -> dict[str, Any]:
        recorded = to_dict(config)
        for name in ("group_by", "score_images", "score_annotations"):
            del recorded["data"][name]
        return recorded

    with monkeypatch.context() as before:
        before.setattr(RunConfig, "to_dict", without_the_rule)
        assert main([*command, "data.group_by=id"]) == 0
    begun = load_run(run_dir)[0].sessions[0]
    assert "group_by" not in begun["config"]["data"]
    capsys.readouterr()

    assert main([*command[:-1], "search.num_trials=2"]) == 0
    assert "the run was begun before images were grouped, and keeps its split" in capsys.readouterr().out
    assert main(["resume", str(run_dir), "search.num_trials=3"]) == 0
    sessions = load_run(run_dir)[0].sessions
    assert [session["data"]["key"] for session in sessions] == [begun["data"]["key"]] * 3
    assert [session["data"]["split_by"] for session in sessions] == ["id"] * 3
    assert main(["show", str(run_dir)]) == 0
    capsys.readouterr()

    assert main([*command, "name=new"]) == 0
    assert "18 images of 6 pictures (by extra.name" in capsys.readouterr().out
    (session,) = load_run(tmp_path / "runs" / "new")[0].sessions
    assert session["config"]["data"]["group_by"] == session["data"]["split_by"] == "picture"
    assert session["data"]["key"] != begun["data"]["key"]


def test_images_of_their_own_to_score_on(
    serial: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_set(tmp_path, [(f"{i}.png", picture(i)) for i in range(6)])
    save_set(tmp_path / "score", [(f"{i}.png", picture(50 + i)) for i in range(4)])
    score = [
        f"data.score_images={tmp_path / 'score' / 'images'}",
        f"data.score_annotations={tmp_path / 'score' / 'instances.json'}",
    ]
    command = command_on(tmp_path, serial, *score)
    assert main(command) == 0
    assert "; 6 training and 4 scoring images, 1 classes" in capsys.readouterr().out
    run_dir = tmp_path / "runs" / "run"
    recorded = load_run(run_dir)[0].sessions[0]["data"]
    assert (recorded["num_train_images"], recorded["num_held_out_images"]) == (6, 4)
    assert recorded["split_by"] == "score_annotations"

    moved = tmp_path / "moved"
    (tmp_path / "score").rename(moved)
    resume = ["resume", str(run_dir), "search.num_trials=2"]
    fails(resume, r"score/instances\.json: cannot be read", capsys)
    new_place = [
        f"data.score_images={moved / 'images'}",
        f"data.score_annotations={moved / 'instances.json'}",
    ]
    assert main([*resume, *new_place]) == 0
    assert load_run(run_dir)[0].num_done == 2
    fails(
        [
            "resume",
            str(run_dir),
            "search.num_trials=3",
            "data.score_images=null",
            "data.score_annotations=null",
        ],
        "data: this run was begun on other images or annotations, or another split of them",
        capsys,
    )


def test_a_study_begun_before_keeps_its_split(tmp_path: Path) -> None:
    """Both sides, by the words that began it."""
    from rich.console import Console

    from spinesearch.results.ledger.run import Run
    from spinesearch.search.study.study_config import compose_study
    from spinesearch.search.study.study_session import _as_begun

    words = [
        "data=coco",
        "data.train_images=/a",
        "data.train_annotations=/a.json",
        "b.proxy_task.num_steps=9",
    ]
    wanted = compose_study("correlate", words, num_archs=3, num_seeds=1)
    sides = {side: config.to_dict() for side, config in wanted.configs.items()}
    study = wanted.to_dict() | {"b": {"config": sides["b"], "data": {"key": "k"}}}
    new = Run(sessions=[{"config": sides["a"], "study": study}])
    assert _as_begun(wanted, new, Console(quiet=True)) == wanted
    for config in sides.values():
        del config["data"]["group_by"]
    old = _as_begun(wanted, new, Console(quiet=True))
    assert [config.data.group_by for config in old.configs.values()] == ["id", "id"]
    assert old.configs["b"].proxy_task.num_steps == 9
    assert replace(old, configs=wanted.configs) == wanted
