"""The records of a COCO annotation file: read, and each field checked, before anything is made of them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from spinesearch.data.errors import DataError

NUMBER = (int, float)
EXAMPLE = "expected a COCO detection file such as instances_train2017.json"


def read_document(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The annotation file, its three lists present and made of objects."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        document = json.loads(text, object_hook=_without_mask)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"annotation file {path}: cannot be read ({reason}); {EXAMPLE}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"annotation file {path}: not JSON ({error}); {EXAMPLE}") from error
    for name in ("images", "annotations", "categories"):
        rows = document.get(name) if isinstance(document, dict) else None
        if not isinstance(rows, list):
            raise DataError(f"annotation file {path}: has no list {name!r}; {EXAMPLE}")
        for i, row in enumerate(rows):
            if not isinstance(row, dict):
                raise DataError(f"{path}: {name}[{i}]: must be an object, got {short(row)}; {EXAMPLE}")
    return document  # type: ignore[no-any-return]


def _without_mask(row: dict[str, Any]) -> dict[str, Any]:
    """Drops a polygon as soon as it is parsed: they are most of COCO's 450 MB and GBs as Python lists."""
    row.pop("segmentation", None)
    return row


def column(
    path: Path,
    section: str,
    rows: list[dict[str, Any]],
    field: str,
    types: Collection[type],
    default: Any = None,
) -> list[Any]:
    """One field of all rows, each value of one of `types`.

    A field without a default must be there; in one with a default, null says the same as leaving it out.
    """
    values = [row.get(field) for row in rows]
    if default is not None:
        values = [default if value is None else value for value in values]
    for i, value in enumerate(values):
        if not fits(value, types):
            names = " or ".join(kind.__name__ for kind in types)
            found = f"got {short(value)}" if field in rows[i] else "but it is missing"
            raise DataError(f"{path}: {section}[{i}].{field}: must be {names}, {found}; {EXAMPLE}")
    return values


def fits(value: object, types: Collection[type]) -> bool:
    """Whether a value is exactly of one of `types` (true is no id) and, as an integer, fits 64 bits."""
    return type(value) in types and (type(value) is not int or -(2**63) <= value < 2**63)


def nested_text(row: dict[str, Any], field: str) -> str:
    """The text or number of a field, as text; dots lead into objects. Empty where the row has none."""
    value: Any = row
    for name in field.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return str(value) if isinstance(value, str | int | float) else ""


def check_unique(
    path: Path,
    section: str,
    field: str,
    values: Iterable[int | str],
    *,
    shown: Sequence[int | str] | None = None,
) -> None:
    """Raises `DataError` when two rows have one value of this field; `shown` is how the file spells them."""
    seen: set[int | str] = set()
    for i, value in enumerate(values):
        if value in seen:
            spelt = short(value if shown is None else shown[i])
            raise DataError(
                f"{path}: {section}[{i}].{field}: {spelt} is taken by an earlier one; give every one its own"
            )
        seen.add(value)


def short(value: object) -> str:
    """A value as an error message shows it: on one line, cut where it gets long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
