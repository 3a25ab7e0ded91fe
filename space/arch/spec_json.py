"""Specs read from the plain data of a JSON file: form and types checked, every error one line for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from spinesearch.space.arch.block import BlockSpec, SpecError, block_from_fields

SCHEMA_VERSION = 1


class SpecFields(NamedTuple):
    """What a file says of a spec: types checked, rules not yet."""

    stem: tuple[BlockSpec, ...]
    blocks: tuple[BlockSpec, ...]
    name: str


def read_fields(data: Any) -> SpecFields:
    """The fields of a spec from the plain data of `ArchSpec.to_dict`; other keys are left alone.

    Raises:
        SpecError: a field is missing or of the wrong type; the message names it.
    """
    if not isinstance(data, dict):
        raise SpecError(f"spec: expected an object, got {type(data).__name__}")
    if "schema_version" not in data:
        keys = ", ".join(str(key)[:20] for key in list(data)[:3]) or "none"
        raise SpecError(
            f"schema_version: missing, so this is no architecture spec (its first keys: {keys}); "
            "`spinesearch export RUN` writes specs"
        )
    version = data["schema_version"]
    if type(version) is not int or version != SCHEMA_VERSION:  # True == 1
        raise SpecError(f"schema_version: this release reads version {SCHEMA_VERSION}, got {version!r}")
    stem = []
    for i, row in enumerate(_list_of_objects(data, "stem")):
        where = f"stem block {i}"
        _check_fields(where, row, ("level", "block_type"))
        stem.append(block_from_fields(where, row["level"], row["block_type"], (), False))
    blocks = []
    for i, row in enumerate(_list_of_objects(data, "blocks"), start=len(stem)):
        where = f"block {i}"
        _check_fields(where, row, ("level", "block_type", "parents", "is_output"))
        if type(row.get("id", i)) is not int or row.get("id", i) != i:
            raise SpecError(f"{where}: id must be {i} (ids count through stem and blocks), got {row['id']!r}")
        blocks.append(
            block_from_fields(where, row["level"], row["block_type"], row["parents"], row["is_output"])
        )
    name = data.get("name", "")
    if not isinstance(name, str):
        raise SpecError(f"name: expected a string, got {name!r}")
    return SpecFields(tuple(stem), tuple(blocks), name)


def _list_of_objects(data: dict[str, Any], key: str) -> list[dict[str, Any]]:
    rows = data.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SpecError(f"{key}: expected a list of objects, got {rows!r}")
    return rows


def _check_fields(where: str, row: dict[str, Any], names: Sequence[str]) -> None:
    missing = [name for name in names if name not in row]
    if missing:
        raise SpecError(f"{where}: missing field {missing[0]!r}; a block has {', '.join(names)}")
