"""Settings of data: what is refused, and what the yaml files list."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from omegaconf import MISSING, OmegaConf

from spinesearch.data.errors import DataError
from spinesearch.data.open import (
    CocoDataSettings,
    GeneratedDataSettings,
    open_data,
)

CONF = Path(__file__).parents[2] / "conf" / "data"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("num_images", 1),
        ("num_images", True),
        ("num_images", 4.0),
        ("num_val_images", -1),
        ("seed", -1),
        ("seed", "0"),
        ("object_sizes", "huge"),
        ("object_sizes", None),
        ("held_out_share", 0),
        ("held_out_share", 1),
        ("held_out_share", True),
        ("held_out_share", float("nan")),
        ("held_out_share", "0.2"),
        ("storage", "png"),
        ("storage", None),
        ("jpeg_quality", 0),
        ("jpeg_quality", 101),
        ("jpeg_quality", 90.0),
        ("cache_dir", ""),
        ("cache_dir", 3),
    ],
)
def test_bad_settings_of_generated_data(field: str, value: Any) -> None:
    with pytest.raises(DataError, match=rf"^data\.{field}: must be .*got ") as error:
        GeneratedDataSettings(**{field: value})
    assert repr(value) in str(error.value)


@pytest.mark.parametrize("field", ["train_images", "train_annotations"])
@pytest.mark.parametrize("value", ["", None, 3])
def test_bad_settings_of_coco_data(field: str, value: Any) -> None:
    with pytest.raises(DataError, match=rf"^data\.{field}: must be the .*got "):
        CocoDataSettings(**{"train_images": "a", "train_annotations": "b", field: value})


@pytest.mark.parametrize("field", ["score_images", "score_annotations"])
@pytest.mark.parametrize("value", ["", 3])
def test_bad_settings_of_data_to_score_on(field: str, value: Any) -> None:
    with pytest.raises(DataError, match=rf"^data\.{field}: must be a path or null, got {value!r}"):
        CocoDataSettings(train_images="a", train_annotations="b", **{field: value})


def test_images_to_score_on_need_annotations() -> None:
    with pytest.raises(
        DataError, match=r"^data\.score_images: .* got 'c' alone; add data\.score_annotations="
    ):
        CocoDataSettings(train_images="a", train_annotations="b", score_images="c")
    CocoDataSettings(train_images="a", train_annotations="b", score_annotations="c")


def test_bad_group_by() -> None:
    with pytest.raises(DataError, match=r"^data\.group_by: must be picture, id, .* got 'patient'"):
        CocoDataSettings(train_images="a", train_annotations="b", group_by="patient")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("box_format", "yolo"),
        ("box_format", None),
        ("max_megapixels", 0),
        ("max_megapixels", True),
        ("max_megapixels", "179"),
        ("max_megapixels", float("nan")),
        ("max_megapixels", float("inf")),
    ],
)
def test_bad_settings_of_how_coco_data_are_read(field: str, value: Any) -> None:
    with pytest.raises(DataError, match=rf"^data\.{field}: must be .*, got ") as error:
        CocoDataSettings(**{"train_images": "a", "train_annotations": "b", field: value})
    assert repr(value) in str(error.value)


@pytest.mark.parametrize("value", [1, "yes", None])
def test_skip_broken_is_true_or_false(value: Any) -> None:
    with pytest.raises(DataError, match=r"^data\.skip_broken: must be true or false, got "):
        CocoDataSettings(train_images="a", train_annotations="b", skip_broken=value)


@pytest.mark.parametrize("image_size", [0, -5, 12.5, True])
def test_bad_image_size(image_size: Any) -> None:
    with pytest.raises(DataError, match=r"image_size: must be an integer of at least 1"):
        open_data(GeneratedDataSettings(), image_size=image_size)


# New runs are to have other values than runs that were begun before there was a choice.
OF_NEW_RUNS = {"object_sizes": "wide"}


@pytest.mark.parametrize("settings", [GeneratedDataSettings, CocoDataSettings])
def test_the_yaml_files_list_the_settings_and_their_defaults(settings: type) -> None:
    fields = {f.name: f for f in dataclasses.fields(settings)}
    config = OmegaConf.load(CONF / f"{fields['name'].default}.yaml")
    raw = OmegaConf.to_container(config)
    assert isinstance(raw, dict)
    assert list(raw) == list(fields)
    for name, value in raw.items():
        default = OF_NEW_RUNS.get(str(name), fields[str(name)].default)
        assert value == (MISSING if default is dataclasses.MISSING else default)
    given = {name: "x" for name, value in raw.items() if value == MISSING}
    composed = OmegaConf.merge(OmegaConf.structured(settings), OmegaConf.merge(config, given))
    assert isinstance(OmegaConf.to_object(composed), settings)
