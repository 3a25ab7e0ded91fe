"""Spaces from recorded configurations: JSON, of this release and of the first."""

import json
from pathlib import Path

import pytest

from spinesearch.search.config.run_config import check_resumable, compose, run_config
from spinesearch.space import SpecError, SpineNetSpace
from spinesearch.space.build import SpineNetSettings, build_space

NAMES = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "space").glob("*.yaml"))
# What runs recorded before there were other spaces.
FIRST = {
    "name": "spinenet",
    "base_levels": {"L2": 1, "L3": 3, "L4": 5, "L5": 1},
    "window": 5,
    "level_offsets": [-1, 0, 1, 2],
    "block_types": ["bottleneck", "residual"],
}


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_configuration_gives_the_same_space(name: str):
    config = run_config(compose([f"space={name}"]))
    recorded = json.loads(json.dumps(config.to_dict()))
    assert build_space(recorded["space"]) == config.space.build()
    assert run_config(recorded) == config


def test_runs_recorded_by_the_first_release_load_and_go_on():
    assert build_space(FIRST) == SpineNetSpace()
    recorded = {**compose([]), "space": FIRST}
    assert run_config(recorded).space.build() == SpineNetSpace()
    check_resumable(run_config(recorded), run_config(compose([])))
    narrow = {**recorded, "space": {**FIRST, "window": 3, "block_types": ["residual"]}}
    assert run_config(narrow).space.build() == SpineNetSpace(window=3, block_types=("residual",))
    with pytest.raises(ValueError, match=r"space.window: this run was begun with 3"):
        check_resumable(
            run_config(narrow), run_config(compose(["space.block_types=[residual]", "space.window=4"]))
        )


def test_a_level_that_a_file_leaves_out_has_no_blocks():
    """Composing merges mappings: a default allocation would fill the gaps."""
    config = run_config({**compose([]), "space": {**FIRST, "base_levels": {"L4": 2}}})
    assert config.space.build() == SpineNetSpace(base_levels={4: 2})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "space.name: must be a name, got ''"),
        ({"name": 3}, "space.name: must be a name, got 3"),
        ({"base_levels": {"L8": 1}}, "space.base_levels: levels are L1, L2, L3, L4, L5, L6, L7, got 'L8'"),
        ({"base_levels": {"2": 1}}, "space.base_levels: levels are L1, L2, L3, L4, L5, L6, L7, got '2'"),
        ({"base_levels": {"L2": 1.0}}, "space.base_levels: the count at level 2 must be an integer, got 1.0"),
        ({"base_levels": ["L2"]}, "space: 'list' object has no attribute 'values'"),
        ({"stem": ["L2", "l2"]}, "space.stem: levels are L1, L2, L3, L4, L5, L6, L7, got 'l2'"),
        ({"stem": [2, 2]}, "space.stem: levels are L1, L2, L3, L4, L5, L6, L7, got 2"),
        ({"stem": None}, "space: 'NoneType' object is not iterable"),
        ({"stem_block_type": "basic"}, "space.stem_block_type: must be one of bottleneck, residual, mbconv"),
        ({"stem_block_type": "mbconv"}, "space.block_types: mbconv blocks go with a stem of mbconv blocks"),
        ({"fixed_order": ["L2"]}, "space.fixed_order: needs the levels of 10 intermediate blocks"),
        ({"fixed_order": "fish"}, "space.fixed_order: levels are L1, L2, L3, L4, L5, L6, L7, got 'f'"),
        ({"depth": 3}, "space: .*unexpected keyword argument 'depth'"),
    ],
)
def test_a_bad_recorded_configuration_is_one_clear_line(change: dict[str, object], message: str):
    with pytest.raises(SpecError, match=f"^{message}") as caught:
        build_space({**FIRST, **change})
    assert "\n" not in str(caught.value)


def test_a_missing_field_is_named():
    with pytest.raises(SpecError, match=r"space: .*missing 1 required keyword-only argument: 'window'"):
        build_space({key: value for key, value in FIRST.items() if key != "window"})


def test_settings_are_checked_when_made():
    with pytest.raises(SpecError, match=r"space\.window: must be at least 2 or null, got 0"):
        SpineNetSettings(**{**FIRST, "window": 0})
