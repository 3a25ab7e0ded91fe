"""How images are grouped before some are held out: the setting ``data.group_by``, parsed. No numpy here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from spinesearch.data.errors import DataError

PICTURE_FIELD = "extra.name"  # where Roboflow's exports name the picture that a copy was made from
FORMS = "picture, id, re:PATTERN, field:NAME or csv:PATH"


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupRule:
    """What says that two images belong together.

    Attributes:
        kind: ``picture``: `PICTURE_FIELD` of the image record, else the file name before ``.rf.``; ``id``:
            nothing, every image is on its own; ``re``, ``field``, ``csv``: what the user gave.
        argument: the regular expression, the field with dots, or the file's path; empty for the others.
    """

    kind: Literal["picture", "id", "re", "field", "csv"]
    argument: str = ""

    def __str__(self) -> str:
        """As the setting has it."""
        return f"{self.kind}:{self.argument}" if self.argument else self.kind

    @property
    def record_field(self) -> str:
        """The field of the image records that is read for it, with dots; empty if none is."""
        if self.kind == "picture":
            return PICTURE_FIELD
        return self.argument if self.kind == "field" else ""


def parse_group_by(text: object) -> GroupRule:
    """The rule of a value of ``data.group_by``.

    Raises:
        DataError: it has none of the forms, or its regular expression is none.
    """
    if isinstance(text, str):
        kind, _, argument = text.partition(":")
        match kind:
            case "picture" | "id" if text == kind:
                return GroupRule(kind=kind)
            case "re" | "field" | "csv" if argument:
                if kind == "re":
                    _check_pattern(argument)
                if kind == "field" and not all(argument.split(".")):
                    raise DataError(
                        f"data.group_by: must name a field of the image records, with dots between levels, "
                        f"as field:{PICTURE_FIELD}, got {text!r}"
                    )
                return GroupRule(kind=kind, argument=argument)
    raise DataError(f"data.group_by: must be {FORMS}, got {text!r}")


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise DataError(
            f"data.group_by: re: must be followed by a regular expression, got {pattern!r} ({error}); it is "
            r"searched for in file names, as re:^(.*)_\d+\.jpg$"
        ) from error
