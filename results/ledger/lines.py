"""The lines of a ledger.

A line is ``{"seq": n, "event": ..., ..., "crc32": "..."}``: ``seq`` counts lines from 0, ``crc32`` is that of
the line's text before it. Lines that were appended together also have ``"append": [place, count]``: this
line's place among them, from 0, and how many they are. Older ledgers do not have it.
"""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Mapping
from typing import Any

_APPEND = "append"

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
    text = json.dumps({**head, **event}, allow_nan=False, separators=(",", ":"))[:-1]
    return f'{text},"crc32":"{zlib.crc32(text.encode()):08x}"}}\n'.encode()


def decode_event(line: bytes, seq: int) -> Event:
    """The event of a line without its newline.

    Raises:
        ValueError: the line is damaged or not the one that belongs here; the message says how.
    """
    event = _decode(line)
    if event.pop("seq", None) != seq:
        raise ValueError("a line is missing before it, or it stands twice")
    event.pop(_APPEND, None)
    return event


def _decode(line: bytes) -> dict[str, Any]:
    """A line without its newline and checksum.

    Raises:
        ValueError: it is damaged.
    """
    text, mark, tail = line.rpartition(b',"crc32":"')
    if not mark or len(tail) != len('00000000"}') or tail[8:] != b'"}':
        raise ValueError("it is not a ledger line")
    if tail[:8].decode(errors="replace") != f"{zlib.crc32(text):08x}":
        raise ValueError("its checksum does not match")
    return dict(json.loads(text + b"}"))


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
            event = _decode(line)
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
        _decode(line)
    except ValueError:
        return False
    return True
