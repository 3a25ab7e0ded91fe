"""Spec files: the JSON Schema and our own checks agree, and files of version 1 read as they did."""

import copy
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from spinesearch.space import PRESETS, SPINENET_49, SpecError, SpineNetSpace, load_spec
from spinesearch.space.arch.spec_file import _FIELDS, load_spec_file, read_provenance, schema
from spinesearch.space.cost.fusion import FUSIONS

PROVENANCE = {
    "run": "demo",
    "version": "0.1.0",
    "trial": 3,
    "rank": 1,
    "seed": 0,
    "tokens": [1, 2],
    "space": {"name": "spinenet"},
    "proxy_task": {"num_steps": 100, "fusion": "attention"},
    "data": {"key": "x"},
    "metrics": {"ap": 0.25},
    "reward": {"value": 0.25, "noise_sd": 0.01, "noise_run": "noise"},
    "reranked": {"metric": "ap", "score": 0.3, "sd": 0.02, "num_seeds": 3, "rank": 2},
    "cost": {"parameters": 21831104, "multiply_adds": 28261744640, "input_size": 640},
    "remark": "fields of others are left alone",
}
FULL = {**SPINENET_49.to_dict(), "provenance": PROVENANCE}
# What `spinesearch export` of November 2026 wrote.
VERSION_1 = {
    **SPINENET_49.to_dict(),
    "schema_version": 1,
    "reward": 0.25,
    "metrics": {"ap": 0.25},
    "search": {
        "run": "demo",
        "trial": 3,
        "rank": 1,
        "tokens": [1, 2],
        "seed": 0,
        "version": "0.1.0",
        "space": {"name": "spinenet"},
        "proxy_task": {"num_steps": 100, "fusion": "attention"},
        "data": {"key": "x"},
    },
}


def valid_by_schema(data: object) -> bool:
    return jsonschema.Draft202012Validator(schema()).is_valid(data)


def load(data: object, folder: Path):
    path = folder / "spec.json"
    path.write_text(json.dumps(data))
    return load_spec_file(path)


def test_the_schema_is_one_and_comes_with_the_package():
    jsonschema.Draft202012Validator.check_schema(schema())


def test_whatever_we_write_is_valid():
    space = SpineNetSpace()
    specs = [*PRESETS.values(), *(space.decode(space.sample(np.random.default_rng(i))) for i in range(50))]
    for spec in specs:
        assert valid_by_schema(json.loads(spec.to_json()))
    assert valid_by_schema(FULL)


def test_provenance_is_read(tmp_path: Path):
    file = load(FULL, tmp_path)
    assert file.spec == SPINENET_49
    assert file.provenance == PROVENANCE
    assert load(SPINENET_49.to_dict(), tmp_path).provenance == {}


def test_version_1_is_read_as_version_2_says_it(tmp_path: Path):
    file = load(VERSION_1, tmp_path)
    assert file.spec == load_spec(tmp_path / "spec.json") == SPINENET_49
    known = {name: PROVENANCE[name] for name in (*VERSION_1["search"], "metrics")}
    assert file.provenance == {**known, "reward": {"value": 0.25}}
    assert load({**SPINENET_49.to_dict(), "schema_version": 1}, tmp_path).provenance == {}


def changed(*keys: str | int, value: object = None) -> dict:
    """The full file with a value replaced; removed if it is None."""
    data = copy.deepcopy(FULL)
    place = data
    for key in keys[:-1]:
        place = place[key]
    if value is None:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (changed("schema_version"), "schema_version: missing"),
        (changed("schema_version", value=3), "reads versions 1 to 2, got 3; a newer spinesearch wrote this"),
        (changed("stem"), "stem: expected a list of objects"),
        (changed("blocks", 2, "parents"), "block 4: missing field 'parents'"),
        (changed("blocks", 2, "level", value=9), "block 4: level must be in 1..7, got 9"),
        (changed("blocks", 2, "parents", value=[2, 2]), "block 4: parents must be two different"),
        (changed("blocks", 2, "is_output", value="no"), "block 4: is_output must be true or false"),
        (changed("name", value=3), "name: expected a string"),
        (changed("provenance", value=[1]), r"provenance: must be an object, got \[1\]"),
        (
            changed("provenance", "rank", value="first"),
            "provenance.rank: must be a whole number, got 'first'",
        ),
        (changed("provenance", "rank", value=True), "provenance.rank: must be a whole number, got True"),
        (changed("provenance", "reward", value=0.5), "provenance.reward: must be an object, got 0.5"),
        (
            changed("provenance", "reward", "noise_sd", value="low"),
            "reward.noise_sd: must be a number, got 'low'",
        ),
        (
            changed("provenance", "proxy_task", "fusion", value="product"),
            "proxy_task.fusion: must be one of sum, weighted, attention, got 'product'",
        ),
        (changed("provenance", "proxy_task", "fusion", value=["sum"]), "proxy_task.fusion: must be one of"),
        (changed("provenance", "tokens", value={}), "provenance.tokens: must be a list"),
        (changed("provenance", "cost", "parameters", value=1.5), "cost.parameters: must be a whole number"),
    ],
)
def test_schema_and_checks_refuse_the_same(data: dict, message: str, tmp_path: Path):
    assert not valid_by_schema(data)
    with pytest.raises(SpecError, match=message) as caught:
        load(data, tmp_path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "spec.json"))


@pytest.mark.parametrize("name", PROVENANCE)
def test_every_field_is_optional_and_known_to_both(name: str):
    data = changed("provenance", name)
    assert valid_by_schema(data)
    assert name not in read_provenance(data)
    if name != "remark":
        assert name in schema()["$defs"]["provenance"]["properties"]


def test_the_schema_and_the_check_know_the_same_fields():
    properties = schema()["$defs"]["provenance"]["properties"]
    assert _FIELDS.keys() == properties.keys()
    fusions = properties["proxy_task"]["properties"]["fusion"]["enum"]
    assert tuple(fusions) == _FIELDS["proxy_task"]["fusion"] == FUSIONS
    for name, kind in _FIELDS.items():
        if isinstance(kind, dict):
            assert kind.keys() == properties[name]["properties"].keys()


def test_deep_provenance_is_one_line(tmp_path: Path):
    path = tmp_path / "spec.json"
    text = json.dumps(changed("provenance", "rank", value="X"))
    path.write_text(text.replace('"X"', "[" * 970 + "]" * 970))
    with pytest.raises(SpecError) as caught:
        load_spec_file(path)
    assert "\n" not in str(caught.value)
