"""`data.box_format` and `data.max_megapixels` in runs, and what reading says on the console."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from spinesearch.search.config.run_config import (
    ConfigError,
    RunConfig,
    check_resumable,
    compose,
    run_config,
    with_overrides,
)
from spinesearch.search.engine import open_run_data


def coco_config(*overrides: str, images: str = "/images", annotations: str = "/instances.json") -> RunConfig:
    paths = [f"data.train_images={images}", f"data.train_annotations={annotations}"]
    return run_config(compose(["data=coco", *paths, *overrides]))


def test_ledgers_without_these_settings_are_of_their_defaults() -> None:
    config = coco_config()
    recorded: dict[str, Any] = config.to_dict()
    assert recorded["data"].pop("box_format") == "xywh"
    assert recorded["data"].pop("max_megapixels") == 179
    assert run_config(recorded) == config


def test_a_resumed_run_keeps_its_box_format_and_may_read_larger_images() -> None:
    begun = coco_config("data.box_format=xyxy")
    check_resumable(begun, with_overrides(begun.to_dict(), ["data.max_megapixels=400"]))
    with pytest.raises(ConfigError, match=r"data\.box_format: this run was begun with 'xyxy'"):
        check_resumable(begun, with_overrides(begun.to_dict(), ["data.box_format=xywh"]))


def test_what_was_converted_reaches_the_console_on_one_line(tiny_coco, tmp_path) -> None:
    for row in tiny_coco.document["annotations"]:
        row["image_id"] = str(row["image_id"])
    tiny_coco.save()
    config = coco_config(
        f"data.cache_dir={tmp_path / 'cache'}",
        "data.held_out_share=0.5",
        images=str(tiny_coco.images_dir),
        annotations=str(tiny_coco.path),
    )
    config = replace(config, proxy_task=replace(config.proxy_task, image_size=128))
    output = io.StringIO()
    open_run_data(config, Console(file=output, width=40, markup=False, highlight=False))
    line = f"warning: {tiny_coco.path}: converted: annotations.image_id given as text (5)"
    assert output.getvalue().splitlines().count(line) == 1
