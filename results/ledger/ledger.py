"""The append-only record of a run: one JSON object per line, on disk before anything depends on it.

A kill tears nothing but the end of the file, a power cut anything that had not yet reached the disk: the
last append, of which it may leave pages of zeros between lines that are whole. Nothing depends on an append
that is not complete, so a ledger ends before the first damaged line of its last append. Damage anywhere
else is an error that names the line.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from spinesearch.results.ledger.lines import Event, decode_events, encode_event, is_torn
from spinesearch.results.ledger.run_lock import LEASE_NAME, LOCK_NAME, RunInUseError, RunLock

LEDGER_NAME = "ledger.jsonl"
_RENEWED_NAME = "ledger.renewed"
_BLOCK = 2**18  # bytes of lines that are decoded at once
# What a process killed at the very start of a run may leave in its folder.
STARTING_NAMES = frozenset((LEDGER_NAME, _RENEWED_NAME, LOCK_NAME, LEASE_NAME))


class LedgerError(ValueError):
    """The ledger is missing or damaged; the message names the file and any line at fault."""


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


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """No garbage is collected inside: in what is read from a ledger there is none, and looking takes time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.freeze()
            gc.unfreeze()  # what is new joins the oldest generation without being looked through
            gc.enable()


def read_ledger(path: Path, *, up_to_damage: bool = False, emptied: tuple[str, ...] = ()) -> LedgerContents:
    """Everything intact in a ledger file, which another process may be writing.

    Args:
        path: the file.
        up_to_damage: whether a damaged line ends what is read, as a torn one does, and is no error.
        emptied: fields whose numbers are left out, see `decode_events`.

    Raises:
        LedgerError: there is no such file, or a line before the last append is damaged.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise LedgerError(f"{path.parent}: is not a run: it has no {LEDGER_NAME}") from error
    except NotADirectoryError as error:
        raise LedgerError(f"{path.parent}: is not a run: it is not a folder") from error
    return parse_ledger(data, path, up_to_damage=up_to_damage, emptied=emptied)


def parse_ledger(
    data: bytes,
    path: Path | str,
    *,
    first: int = 0,
    up_to_damage: bool = False,
    emptied: tuple[str, ...] = (),
) -> LedgerContents:
    """Everything intact in a ledger's bytes from line ``first`` on; ``path`` is where they are from.

    Raises:
        LedgerError: a line before the last append is damaged.
    """
    events, start = _undamaged(data, first, emptied)
    while start < len(data):
        seq = first + len(events)
        end = data.find(b"\n", start)
        line = data[start:] if end < 0 else data[start:end]
        try:
            if end < 0:
                raise ValueError("it has no end")
            (event,) = decode_events([line], seq, emptied)
        except ValueError as error:
            if is_torn(data[start:], seq):
                what = "the torn last line" if end < 0 or end + 1 == len(data) else "a torn last append"
                torn = f"{path}: dropped {what} ({len(data) - start} bytes: {error})"
            elif up_to_damage:
                torn = f"{path}: line {seq + 1} is damaged: {error}; what stands before it is read"
            else:
                raise LedgerError(
                    f"{path}: line {seq + 1} is damaged: {error}; "
                    "restore the file from a copy, or cut it before this line to resume from there"
                ) from error
            return LedgerContents(events=tuple(events), num_bytes=start, torn=torn)
        events.append(event)
        start = end + 1
    return LedgerContents(events=tuple(events), num_bytes=start)


def _undamaged(data: bytes, first: int, emptied: tuple[str, ...]) -> tuple[list[Event], int]:
    """The events of a ledger's bytes up to the first block with any damage, and where that begins."""
    events: list[Event] = []
    start = 0
    with contextlib.suppress(ValueError):
        while (end := data.rfind(b"\n", start, start + _BLOCK)) >= 0:
            events += decode_events(data[start:end].split(b"\n"), first + len(events), emptied)
            start = end + 1
    return events, start


class Ledger:
    """The one writer of a run's ledger; holds the run's lock from construction to `close`.

    Args:
        run_dir: the run's folder; made if missing, with an empty ledger.
        report: receives one line if taking over from a process that may have died will take a while.

    Attributes:
        contents: what the file held when it was opened. A torn last line is cut off then.

    Raises:
        RunInUseError: another process is writing to the run.
        LedgerError: the ledger is damaged.
    """

    def __init__(self, run_dir: Path, *, report: Callable[[str], None] | None = None) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        self._path = run_dir / LEDGER_NAME
        self._lock = RunLock(run_dir, report=report)
        self._file = -1
        try:
            if self._lock.must_renew:
                _renew(self._path, self._lock)
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

    @property
    def run_dir(self) -> Path:
        """The run's folder."""
        return self._path.parent

    @property
    def num_bytes(self) -> int:
        """Length of what is safely on disk."""
        return self._num_bytes

    def check(self) -> None:
        """Check that the run is still this process's to write.

        Raises:
            RunInUseError: another process has taken it over, or replaced the ledger's file.
        """
        self._lock.check()
        try:
            is_there = os.path.samestat(os.fstat(self._file), os.stat(self._path))
        except FileNotFoundError:
            is_there = False
        if not is_there:
            raise RunInUseError(
                f"{self._path}: another process has replaced the file; this process stops here: "
                "give the command again to resume from what is there now"
            )

    def append(self, events: Iterable[Event]) -> None:
        """Write events, on disk when this returns; all of them or, after an error, none.

        Who takes the run over reads all that was ever written without an error.

        Raises:
            LedgerError: they could not be written (disk full, say); the file is as before.
            RunInUseError: another process has taken the run over.
        """
        events = list(events)
        count = len(events)
        lines = [
            encode_event(self._num_events + i, event, (i, count) if count > 1 else None)
            for i, event in enumerate(events)
        ]
        if lines:
            self._write(b"".join(lines), count)

    def catch_up(self, copy: bytes) -> int:
        """Take over what a copy of this ledger has beyond its end; returns how many events that is.

        Args:
            copy: the whole of it, in whole lines; it begins with all that stands here.

        Raises:
            LedgerError, RunInUseError: the copy is damaged, or as `append`.
        """
        new = parse_ledger(copy[self._num_bytes :], f"the copy of {self._path}", first=self._num_events)
        if new.events:
            self._write(copy[self._num_bytes :][: new.num_bytes], len(new.events))
        self.contents = LedgerContents(
            events=self.contents.events + new.events, num_bytes=self._num_bytes, torn=self.contents.torn
        )
        return len(new.events)

    def _write(self, data: bytes, num_events: int) -> None:
        self.check()
        try:
            written = 0
            while written < len(data):
                written += os.write(self._file, data[written:])
            os.fsync(self._file)
        except OSError as error:
            try:
                os.ftruncate(self._file, self._num_bytes)
            except OSError:  # half a line may remain: whoever opens the run next cuts it off
                os.close(self._file)
                self._file = -1
            raise LedgerError(
                f"{self._path}: could not be written: {error.strerror}; "
                "what it holds is safe: make room and resume the run"
            ) from error
        self.check()  # if taken over meanwhile, the lines may be in a file that nobody reads
        self._num_bytes += len(data)
        self._num_events += num_events

    def close(self) -> None:
        """Release the file and the lock; further calls do nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _renew(path: Path, lock: RunLock) -> None:
    """Make the ledger a new file of the same lines; who has the old one open writes to no file of the run."""
    if not path.exists():
        return
    renewed = path.with_name(_RENEWED_NAME)
    with renewed.open("wb") as file:
        file.write(path.read_bytes())
        file.flush()
        os.fsync(file.fileno())
    lock.check()  # frozen for long, this process may have lost the run, whose file is another's by now
    os.replace(renewed, path)


def _sync_folder(path: Path) -> None:
    """Make the folder's entries durable: a new file survives a power cut only then."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
