"""The lines of a ledger.

A line is ``{"seq": n, "event": ..., ..., "crc32": "..."}``: ``seq`` counts lines from 0, ``crc32`` is that of
the line's text before it. Lines that were appended together also have ``"append": [place, count]``: this
line's place among them, from 0, and how many they are. Older ledgers do not have it.
"""

from __future__ import annotations

import contextlib
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

_APPEND = "append"
_END = b',"crc32":"%08x"}'
_END_LENGTH = len(_END % 0)

Event = Mapping[str, Any]


def encode_event(seq: int, event: Event, append: tuple[int, int] | None = None) -> bytes:
    """One line, newline included.

    Args:
        seq: its number, from 0.
        event: what it says.
        append: its place among the lines appended together and their count; None for one alone.

    Raises:
        ValueError: a number in it is not finite.
    """
    head: dict[str, Any] = {"seq": seq} if append is None else {"seq": seq, _APPEND: append}
    text = json.dumps({**head, **event}, allow_nan=False, separators=(",", ":"))[:-1].encode()
    return text + _END % zlib.crc32(text) + b"\n"


def decode_events(lines: Sequence[bytes], first: int, emptied: tuple[str, ...] = ()) -> list[Event]:
    """The events of lines without their newlines, which begin with line number ``first``.

    All of them are one document for the parser, which makes each key once.

    Args:
        lines: whole ones.
        first: the number of the first.
        emptied: fields that nobody will look at, numbers by the million: where their values are flat lists
            of numbers, or objects of such, these come back empty. Checksums are of all that a line says.

    Raises:
        ValueError: a line is damaged or not the one that belongs there; the message says how.
    """
    events = _decode(lines, emptied)
    if [event.pop("seq", None) for event in events] != [*range(first, first + len(lines))]:
        raise ValueError("a line is missing before it, or it stands twice")
    for event in events:
        event.pop(_APPEND, None)
    return [*events]


def _decode(lines: Sequence[bytes], emptied: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Lines without their newlines and checksums; ``emptied`` as of `decode_events`.

    Raises:
        ValueError: one is damaged.
    """
    text = b"[" + b",".join(map(_text, lines)) + b"]"
    if emptied:
        text = _numbers_of(emptied).sub(rb"\1", text)
    decoded: list[dict[str, Any]] = json.loads(text)
    return decoded


@cache
def _numbers_of(fields: tuple[str, ...]) -> re.Pattern[bytes]:
    """What finds the numbers of these fields; its group is what stands before them.

    Inside JSON's strings every quote has a backslash before it, so none of them holds ``,"field":``.
    """
    begin = rf',"(?:{"|".join(fields)})":(?:\[|{{)'
    numbers, pairs = "[-+.0-9Ee,]+", r'(?:"\w+":[-+.0-9Ee]+,?)+'
    return re.compile(rf"({begin})(?:{numbers}(?=])|{pairs}(?=}}))".encode())


def _text(line: bytes) -> bytes:
    """The JSON that a line is without its checksum.

    Raises:
        ValueError: it is damaged.
    """
    text, end = line[:-_END_LENGTH], line[-_END_LENGTH:]
    if end != _END % zlib.crc32(text):
        is_line = end.startswith(_END[:10]) and end.endswith(_END[-2:])
        raise ValueError("its checksum does not match" if is_line else "it is not a ledger line")
    return text + b"}"


def is_torn(rest: bytes, seq: int) -> bool:
    """Whether what begins with the damaged line ``seq`` is the remainder of an append that never ended.

    It is if it is one line, if all whole lines in it belong to an append that the damaged line is part of, or
    if no line in it is whole and all but the last have bytes that were never written.
    """
    damaged, *others = rest.removesuffix(b"\n").split(b"\n")
    if not others:
        return True
    appends = []  # of the whole lines: number of the first line, count
    for line in others:
        with contextlib.suppress(ValueError):
            (event,) = _decode([line])
            place, count = event.get(_APPEND, (0, 1))
            appends.append((event["seq"] - place, count, event["seq"]))
    if not appends:
        return all(b"\0" in line for line in (damaged, *others[:-1]))
    begin, count, last = appends[-1]
    is_one = all((other, number) == (begin, count) for other, number, _ in appends)
    # What follows a complete append was written when that was on disk.
    is_last = last < begin + count - 1 or _is_whole(others[-1])
    return is_one and is_last and begin <= seq < begin + count


def _is_whole(line: bytes) -> bool:
    try:
        _decode([line])
    except ValueError:
        return False
    return True
