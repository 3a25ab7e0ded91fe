"""The records of a COCO annotation file, field by field: checked, and converted where nothing is lost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

from spinesearch.data.errors import DataError

EXAMPLE = "expected a COCO detection file such as instances_train2017.json"
_FORMS = {str: "text", float: "floats", int: "numbers"}  # that a value was converted from
_MAX_DIGITS = 300  # of a number given as text; Python refuses to read thousands


class Records:
    """One of the file's lists.

    Args:
        path: of the file.
        section: the list's name.
        rows: its records.
        conversions: how often what was converted, by what it was, such as ``images.id as text``.
    """

    def __init__(
        self, path: Path, section: str, rows: list[dict[str, Any]], conversions: Counter[str]
    ) -> None:
        self.path = path
        self.section = section
        self.rows = rows
        self.conversions = conversions

    def __len__(self) -> int:
        return len(self.rows)

    def values(self, field: str, default: Any = None) -> list[Any]:
        """One field of all records as it is; what a record lacks, or has null for, is the default."""
        values = [row.get(field) for row in self.rows]
        if default is not None:
            values = [default if value is None else value for value in values]
        return values

    def column(
        self,
        field: str,
        types: Collection[type],
        convert: Callable[[Any], Any],
        rule: str,
        default: Any = None,
    ) -> list[Any]:
        """One field of all records, each value of one of the types.

        Args:
            field: its name.
            types: that need no conversion. Integers must fit 64 bits as well.
            convert: makes another value one of these; None if it cannot be.
            rule: what a value must be.
            default: as in `values`.

        Raises:
            DataError: values that cannot be converted; names the first.
        """
        values = self.values(field, default)
        if are_of(values, types):
            return values
        wrong = []
        for i, value in enumerate(values):
            if are_of((value,), types):
                continue
            values[i] = convert(value)
            if values[i] is None:
                wrong.append(i)
            else:
                self.note(field, value)
        if wrong:
            self.refuse(field, wrong, rule)
        return values

    def note(self, field: str, value: object) -> None:
        """Counts a value of the field that was converted, by its form."""
        self.conversions[f"{self.section}.{field} given as {_FORMS[type(value)]}"] += 1

    def refuse(self, field: str, wrong: Sequence[int], rule: str, next_step: str = EXAMPLE) -> NoReturn:
        """Raises `DataError` for the records at the positions `wrong`, of which it names the first."""
        row = self.rows[wrong[0]]
        found = "but it is missing"
        if field in row:
            found = "but it is null" if row[field] is None else f"got {short(row[field])}"
        alike = f" ({len(wrong)} of {len(self)} records are like it)" if len(wrong) > 1 else ""
        raise DataError(
            f"{self.path}: {self.section}[{wrong[0]}].{field}: must be {rule}, {found}{alike}; {next_step}"
        )

    def check_unique(self, field: str, values: Sequence[Any]) -> None:
        """Raises `DataError` when two records have one value of this field.

        Args:
            field: its name.
            values: of all records, as they are compared.
        """
        if len(set(values)) == len(values):
            return
        seen: set[Any] = set()
        taken = []
        for i, value in enumerate(values):
            if value in seen:
                taken.append(i)
            seen.add(value)
        self.refuse_taken(field, taken)

    def refuse_taken(self, field: str, taken: Sequence[int]) -> NoReturn:
        """Raises `DataError` for records at these positions, whose value an earlier one has."""
        value = short(self.rows[taken[0]].get(field))
        alike = f" ({len(taken)} records are like it)" if len(taken) > 1 else ""
        raise DataError(
            f"{self.path}: {self.section}[{taken[0]}].{field}: {value} is taken by an earlier one{alike}; "
            "give every one its own"
        )


def are_of(values: Collection[object], types: Collection[type]) -> bool:
    """Whether all values are exactly of these types (true is no id) and, as integers, fit 64 bits."""
    kinds = set(map(type, values))
    if not kinds <= set(types):
        return False
    if int not in kinds:
        return True
    # mypy does not know that with this kind alone all values are integers.
    integers = values if kinds == {int} else [value for value in values if type(value) is int]
    return min(integers) >= -(2**63) and max(integers) < 2**63  # type: ignore[type-var, operator]


def whole_number(value: object) -> int | None:
    """The integer of 64 bits that a value stands for: 7, 7.0, "7" or "7.0"; None if there is none."""
    number = real_number(value)
    if number is None or number != number // 1 or not -(2**63) <= number < 2**63:
        return None
    return int(number)


def real_number(value: object) -> int | float | None:
    """The number that a value stands for: itself or as text; None if there is none. Never true or false."""
    if isinstance(value, str):
        if not value.isascii() or len(value) > _MAX_DIGITS or "_" in value:
            return None
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                continue
        return None
    return value if type(value) in (int, float) else None  # type: ignore[return-value]


def flag(value: object) -> int | None:
    """0 or 1 for a number, a truth value or either as text; None if there is none."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return int(value.strip().lower() == "true")
    number = whole_number(value)
    return None if number is None else int(number != 0)


def class_name(value: object) -> str | None:
    """The name of a class that is given as a number; None if there is none."""
    if type(value) is int or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    return None


def nested_text(row: dict[str, Any], field: str) -> str:
    """The text or number of a field, as text; dots lead into objects. Empty where the row has none."""
    value: Any = row
    for name in field.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return str(value) if isinstance(value, str | int | float) else ""


def short(value: object) -> str:
    """A value as an error message shows it: on one line, cut where it gets long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
