"""A spec file as a whole: the architecture, and where it came from.

``provenance`` is what an export knows of an architecture: the search that found it, what it scored there and
how much that score varies, and what it costs. All of it is optional, and other fields are left alone. The
form of a whole file is `schema`, a JSON Schema that comes with the package; this module checks the same of
provenance, with messages for people.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from spinesearch.space.arch.spec import ArchSpec, SpecError
from spinesearch.space.arch.spec_json import parse_json, read_text, too_deep

SCHEMA_FILE = "spec.schema.json"
_FUSIONS = ("sum", "weighted", "attention")  # `space.cost.fusion.FUSIONS`, which stands a floor above
# What the fields of provenance are; an object of which more is known has a mapping of its own, and a field
# that has one of some values has these.
_FIELDS: Mapping[str, Any] = {
    "run": str,
    "version": str,
    "trial": int,
    "rank": int,
    "seed": int,
    "tokens": list,
    "space": dict,
    "proxy_task": {"fusion": _FUSIONS},
    "data": dict,
    "metrics": dict,
    "reward": {"value": float, "noise_sd": float, "noise_run": str},
    "reranked": {
        "metric": str,
        "score": float,
        "sd": float,
        "num_seeds": int,
        "rank": int,
        "proxy_task": dict,
    },
    "cost": {"parameters": int, "multiply_adds": int, "input_size": int},
}
_NAMES = {str: "text", int: "a whole number", float: "a number", list: "a list", dict: "an object"}


class SpecFile(NamedTuple):
    """What a spec file holds.

    Attributes:
        spec: the architecture.
        provenance: where it came from, as version 2 says it; empty if the file does not say.
    """

    spec: ArchSpec
    provenance: Mapping[str, Any]


def load_spec_file(path: str | Path) -> SpecFile:
    """A spec and its provenance from a JSON file of any version that this release reads.

    Raises:
        SpecError: the file cannot be read, holds no valid spec, or a field of its provenance has a wrong
            type; the message begins with the path.
    """
    text = read_text(path)
    try:
        data = parse_json(text)
        return SpecFile(ArchSpec.from_dict(data), read_provenance(data))
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error
    except RecursionError as error:
        raise SpecError(f"{path}: {too_deep()}") from error


def read_provenance(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Provenance from the plain data of a valid spec.

    Version 1 had reward, metrics and the rest, called ``search``, at the top level.

    Raises:
        SpecError: a field has a wrong type; the message names it.
    """
    if data["schema_version"] == 1:
        search = data.get("search")
        found = dict(search) if isinstance(search, dict) else {}
        if isinstance(data.get("metrics"), dict):
            found["metrics"] = data["metrics"]
        if isinstance(data.get("reward"), int | float):
            found["reward"] = {"value": data["reward"]}
        return found
    provenance = data.get("provenance", {})
    _check("provenance", provenance, _FIELDS)
    return dict(provenance)


def searched_with(provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    """The proxy setting that an architecture was scored under, as far as its provenance says."""
    setting = provenance.get("proxy_task")
    return setting if isinstance(setting, dict) else {}


def searched_fusion(provenance: Mapping[str, Any]) -> str:
    """The fusion of the networks that were scored; ``sum`` if the provenance does not say."""
    return str(searched_with(provenance).get("fusion", "sum"))


def schema() -> dict[str, Any]:
    """The JSON Schema of a spec file (draft 2020-12)."""
    text = resources.files(__package__).joinpath(SCHEMA_FILE).read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text)
    return data


def _check(where: str, value: Any, wanted: Any) -> None:
    if isinstance(wanted, Mapping):
        _check(where, value, dict)
        for name in wanted.keys() & value.keys():
            _check(f"{where}.{name}", value[name], wanted[name])
        return
    if isinstance(wanted, tuple):
        if value not in wanted:
            raise SpecError(f"{where}: must be one of {', '.join(wanted)}, got {value!r}")
        return
    kinds = (int, float) if wanted is float else (wanted,)
    if type(value) not in kinds:  # True is an int to isinstance
        raise SpecError(f"{where}: must be {_NAMES[wanted]}, got {value!r}")
