"""The settings of the split: in ledgers without them, under changed paths, when a run is continued."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spinesearch.search.config.earlier_defaults import with_old_split
from spinesearch.search.config.run_config import (
    ConfigError,
    check_resumable,
    compose,
    run_config,
    with_overrides,
)

COCO = ["data=coco", "data.train_images=/a", "data.train_annotations=/a.json"]
NEW = ("group_by", "score_images", "score_annotations")


def old_ledger(*overrides: str) -> dict[str, Any]:
    """A recorded configuration of a release without these settings."""
    config = run_config(compose([*COCO, *overrides])).to_dict()
    return config | {"data": {key: value for key, value in config["data"].items() if key not in NEW}}


def test_new_runs_split_by_picture_and_old_ledgers_by_id() -> None:
    assert compose(COCO)["data"]["group_by"] == "picture"
    recorded = old_ledger()
    for config in (run_config(recorded), with_overrides(recorded, ["search.num_workers=3"])):
        assert config.data.group_by == "id"
        check_resumable(run_config(recorded), config)
    with pytest.raises(ConfigError, match=r"^data\.group_by: this run was begun with 'id' and cannot"):
        check_resumable(run_config(recorded), with_overrides(recorded, ["data.group_by=picture"]))


def test_the_command_that_began_an_old_run_continues_it() -> None:
    reported: list[str] = []
    command = run_config(compose(COCO))
    kept = with_old_split(command, old_ledger(), reported.append)
    assert kept.data.group_by == "id"
    assert reported == [
        "data.group_by: the run was begun before images were grouped, and keeps its split by image id"
    ]
    check_resumable(run_config(old_ledger()), kept)
    # Runs that know the setting, and runs on other data, are left alone.
    for begun in (command.to_dict(), run_config(compose([*COCO, "data.group_by=id"])).to_dict()):
        assert with_old_split(command, begun, reported.append) == command
    by_field = run_config(compose([*COCO, "data.group_by='field:patient'"]))
    assert with_old_split(by_field, old_ledger(), reported.append) == by_field
    generated = run_config(compose([]))
    assert with_old_split(generated, generated.to_dict(), reported.append) == generated
    assert len(reported) == 1


def test_paths_mean_the_same_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = ["data.score_images=images", "data.score_annotations='~/s.json'", "data.group_by='csv:g.csv'"]
    data = run_config(compose([*COCO, *files])).data
    assert data.score_images == str(tmp_path / "images")
    assert data.score_annotations == str(Path("~/s.json").expanduser())
    assert data.group_by == f"csv:{tmp_path / 'g.csv'}"


def test_files_may_lie_elsewhere_when_a_run_is_resumed_but_the_rule_stays() -> None:
    recorded = run_config(compose([*COCO, "data.score_annotations=/s.json", "data.group_by='csv:/g.csv'"]))
    moved = ["data.score_images=/x", "data.score_annotations=/x/s.json", "data.group_by=csv:/x/g.csv"]
    wanted = with_overrides(recorded.to_dict(), moved)
    assert wanted.data.group_by == "csv:/x/g.csv"
    check_resumable(recorded, wanted)
    for other in ("picture", "field:csv:x"):
        with pytest.raises(ConfigError, match=r"^data\.group_by: this run was begun with 'csv:/g\.csv'"):
            check_resumable(recorded, with_overrides(recorded.to_dict(), [f"data.group_by={other}"]))
