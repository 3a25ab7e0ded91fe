"""The append-only record of a run: one JSON object per line, on disk before anything depends on it.

A line is ``{"seq": n, "event": ..., ..., "crc32": "..."}``: ``seq`` counts lines from 0, ``crc32`` is that of
the line's text before it. A kill or power cut can only tear the end of the file; a last line that is damaged
is therefore dropped, damage anywhere else is an error that names the line.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

LEDGER_NAME = "ledger.jsonl"
LOCK_NAME = "lock"

Event = Mapping[str, Any]


class LedgerError(ValueError):
    """The ledger is missing, damaged or in use; the message names the file and any line at fault."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerContents:
    """What a ledger file holds.

    Attributes:
        events: the intact events in order.
        num_bytes: length of the intact part of the file.
        torn: what was dropped from the end, for people; empty if nothing.
    """

    events: tuple[Event, ...]
    num_bytes: int
    torn: str = ""


def encode_event(seq: int, event: Event) -> bytes:
    """One line, newline included.

    Raises:
        ValueError: a number in it is not finite.
    """
    text = json.dumps({"seq": seq, **event}, allow_nan=False, separators=(",", ":"))[:-1]
    return f'{text},"crc32":"{zlib.crc32(text.encode()):08x}"}}\n'.encode()


def decode_event(line: bytes, seq: int) -> Event:
    """The event of a line without its newline.

    Raises:
        ValueError: the line is damaged or not the one that belongs here; the message says how.
    """
    text, mark, tail = line.rpartition(b',"crc32":"')
    if not mark or len(tail) != len('00000000"}') or tail[8:] != b'"}':
        raise ValueError("it is not a ledger line")
    if tail[:8].decode(errors="replace") != f"{zlib.crc32(text):08x}":
        raise ValueError("its checksum does not match")
    event = json.loads(text + b"}")
    if event.pop("seq", None) != seq:
        raise ValueError("a line is missing before it, or it stands twice")
    return dict(event)


def read_ledger(path: Path) -> LedgerContents:
    """Everything intact in a ledger file, which another process may be writing.

    Raises:
        LedgerError: there is no such file, or a line before the last is damaged.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise LedgerError(f"{path.parent}: is no run: it has no {LEDGER_NAME}") from error
    except NotADirectoryError as error:
        raise LedgerError(f"{path.parent}: is no run: it is not a folder") from error
    events: list[Event] = []
    start = 0
    while start < len(data):
        end = data.find(b"\n", start)
        line = data[start:] if end < 0 else data[start:end]
        is_last = end < 0 or end + 1 == len(data)
        try:
            if end < 0:
                raise ValueError("it has no end")
            event = decode_event(line, len(events))
        except ValueError as error:
            if is_last:
                torn = f"{path}: dropped the torn last line ({len(data) - start} bytes: {error})"
                return LedgerContents(events=tuple(events), num_bytes=start, torn=torn)
            raise LedgerError(
                f"{path}: line {len(events) + 1} is damaged: {error}; "
                "restore the file from a copy, or cut it before this line to go on from there"
            ) from error
        events.append(event)
        start = end + 1
    return LedgerContents(events=tuple(events), num_bytes=start)


class Ledger:
    """The one writer of a run's ledger; holds the run's lock from construction to `close`.

    Args:
        run_dir: the run's folder; made if missing, with an empty ledger.

    Attributes:
        contents: what the file held when it was opened. A torn last line is cut off then.

    Raises:
        LedgerError: another process is writing to the run, or the ledger is damaged.
    """

    def __init__(self, run_dir: Path) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        self._path = run_dir / LEDGER_NAME
        self._lock = _lock(run_dir / LOCK_NAME)
        self._file = -1
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self.contents = read_ledger(self._path)
            if self.contents.torn:
                os.ftruncate(self._file, self.contents.num_bytes)
            os.fsync(self._file)
            _sync_folder(run_dir)
            _sync_folder(run_dir.resolve().parent)
        except BaseException:
            self.close()
            raise
        self._num_events = len(self.contents.events)
        self._num_bytes = self.contents.num_bytes

    def append(self, events: Iterable[Event]) -> None:
        """Write events, on disk when this returns; all of them or, after an error, none.

        Raises:
            LedgerError: they could not be written (disk full, say); the file is as before.
        """
        lines = [encode_event(self._num_events + i, event) for i, event in enumerate(events)]
        if not lines:
            return
        data = b"".join(lines)
        try:
            written = 0
            while written < len(data):
                written += os.write(self._file, data[written:])
            os.fsync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._num_bytes)
            raise LedgerError(
                f"{self._path}: could not be written: {error.strerror}; "
                "what it holds is safe: make room and resume the run"
            ) from error
        self._num_bytes += len(data)
        self._num_events += len(lines)

    def close(self) -> None:
        """Release the file and the lock; further calls do nothing."""
        for name in ("_file", "_lock"):
            descriptor = getattr(self, name)
            if descriptor >= 0:
                os.close(descriptor)
                setattr(self, name, -1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _lock(path: Path) -> int:
    """Take the run's lock; the kernel gives it back however this process ends."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(lock, 200).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise LedgerError(
            f"{path.parent}: another process is writing to this run ({holder}); stop it or wait for its end"
        ) from error
    os.ftruncate(lock, 0)
    os.write(lock, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    return lock


def _sync_folder(path: Path) -> None:
    """Make the folder's entries durable: a new file survives a power cut only then."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
