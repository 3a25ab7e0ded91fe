"""Specs read from the plain data of a JSON file: form and types checked, every error one line for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from spinesearch.space.arch.block import BlockSpec, SpecError, block_from_fields

SCHEMA_VERSION = 2
# 1 had no provenance, but for what an export put at the top level (`space.arch.spec_file` reads both).
OLDEST_VERSION = 1


class SpecFields(NamedTuple):
    """What a file says of a spec: types checked, rules not yet."""

    stem: tuple[BlockSpec, ...]
    blocks: tuple[BlockSpec, ...]
    name: str


def read_text(path: str | Path) -> str:
    """The text of a file.

    Raises:
        SpecError: it cannot be read; the message begins with the path.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SpecError(f"{path}: cannot be read: {reason}") from error


def parse_json(text: str) -> Any:
    """The plain data of JSON text.

    Raises:
        SpecError: it is not JSON.
    """
    try:
        return json.loads(text.removeprefix("\ufeff"))  # a byte-order mark
    except json.JSONDecodeError as error:
        raise SpecError(f"not JSON: {error}") from error
    except RecursionError as error:
        raise too_deep() from error
    except ValueError as error:  # of json.loads, for an integer of thousands of digits
        raise SpecError("spec: a number has too many digits") from error


def too_deep() -> SpecError:
    """What is said of data that are nested so deeply that reading or printing them fails."""
    return SpecError("spec: lists or objects are nested too deeply")


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
    if type(version) is not int or not OLDEST_VERSION <= version <= SCHEMA_VERSION:  # True == 1
        is_newer = type(version) is int and version > SCHEMA_VERSION
        step = "; a newer spinesearch wrote this file: install that one to read it" if is_newer else ""
        raise SpecError(
            f"schema_version: this release reads versions {OLDEST_VERSION} to {SCHEMA_VERSION}, "
            f"got {version!r}{step}"
        )
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
