"""Ids of images and categories as integers, whatever they are in the file, and what points at them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from spinesearch.data.coco.records import EXAMPLE, Records, are_of, whole_number

_INTEGER_TEXT = re.compile(r"\s*[+-]?\d{1,19}(\.0*)?\s*", re.ASCII)
_RULE = "an integer or a text"
_NO_CLASS = (
    "the object has no class (VIA writes null for classes that its project does not number): give it the id "
    "of a category, or remove it"
)

Ids = npt.NDArray[np.int64]


def integer_ids(owners: Records, pointers: Records, field: str) -> tuple[Ids, Ids]:
    """The owners' ids, int64 `[N]`, and the pointers' fields, int64 `[T]`, equal where they are in the file.

    Ids that are integers, as text or whole floats too, are these integers. Where one of the owners' is none,
    or fits no 64 bits, or two texts are one integer (``7`` and ``007``), all are numbered from 1 by their
    texts in sorted order.

    Args:
        owners: the images or categories; two that have one id get one number.
        pointers: the annotations.
        field: in which a pointer holds the id of its owner.

    Raises:
        DataError: an id is neither an integer nor a text.
    """
    owned, pointed = owners.values("id"), pointers.values(field)
    if are_of(owned, (int,)) and are_of(pointed, (int,)):
        return np.array(owned, np.int64), np.array(pointed, np.int64)
    return _converted(owners, owned, pointers, pointed, field)


def positions(owners: Records, ids: Ids, pointers: Records, field: str, pointing: Ids) -> Ids:
    """For every pointer the position of its owner among the sorted ids, int64 `[T]`.

    Args:
        owners: the images or categories.
        ids: theirs, from `integer_ids`.
        pointers: the annotations.
        field: in which a pointer holds the id of its owner.
        pointing: these, from `integer_ids`.

    Raises:
        DataError: a pointer's is not among the owners'.
    """
    known = np.unique(ids)
    index = np.searchsorted(known, pointing).clip(max=len(known) - 1).astype(np.int64)
    wrong = np.flatnonzero(known[index] != pointing)
    if len(wrong):
        rule = f"the id of one of the file's {owners.section}"
        next_step = "remove the annotation or add what it points at"
        pointers.refuse(field, wrong.tolist(), rule, next_step)
    return index


def _converted(
    owners: Records, owned: list[Any], pointers: Records, pointed: list[Any], field: str
) -> tuple[Ids, Ids]:
    """The owners' ids and what the pointers hold, as integers; nobody's where it is no owner's."""
    texts, pointed_texts = _texts(owners, "id", owned), _texts(pointers, field, pointed)
    numbers = [_integer(text) for text in texts]
    if None not in numbers and len(set(numbers)) == len(set(texts)):
        number_of: dict[str, int | None] = dict(zip(texts, numbers, strict=True))
        for records, name, values in ((owners, "id", owned), (pointers, field, pointed)):
            for value in values:
                if type(value) is not int:
                    records.note(name, value)
        # ``7`` and ``007`` are one id here, since no other has either.
        pointing = [number_of.get(text, _integer(text)) for text in pointed_texts]
        return np.array(numbers, np.int64), _or_missing(pointing, numbers)
    number_of = {text: number for number, text in enumerate(sorted(set(texts)), start=1)}
    how = f"{owners.section}.id numbered by sorted text, as not all are integers of 64 bits"
    owners.conversions[how] += len(owned)
    return (
        np.array([number_of[text] for text in texts], np.int64),
        np.array([number_of.get(text, -1) for text in pointed_texts], np.int64),
    )


def _or_missing(pointing: list[int | None], numbers: list[int | None]) -> Ids:
    """The numbers, and in place of None one that no owner has."""
    taken = set(numbers)
    missing = next(number for number in range(-1, -len(taken) - 2, -1) if number not in taken)
    return np.array([missing if number is None else number for number in pointing], np.int64)


def _texts(records: Records, field: str, values: list[Any]) -> list[str]:
    """The ids as text; whole numbers without a decimal point."""
    wrong = []
    texts = []
    for i, value in enumerate(values):
        number = value if type(value) is int else whole_number(value) if type(value) is float else None
        if number is None and not (isinstance(value, str) and value.strip()):
            wrong.append(i)
        texts.append(str(value if number is None else number).strip())
    if wrong:
        has_none = records.rows[wrong[0]].get(field) is None
        records.refuse(field, wrong, _RULE, _NO_CLASS if has_none and field == "category_id" else EXAMPLE)
    return texts


def _integer(text: str) -> int | None:
    """The integer of 64 bits that a text is, ``7`` and ``7.0`` alike."""
    return whole_number(text) if _INTEGER_TEXT.fullmatch(text) else None
