"""The folder of what is derived from data sets and can be deleted at any time; a lock on each entry."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from spinesearch.data.errors import DataError

MOVE_HINT = "set data.cache_dir or $SPINESEARCH_CACHE to a folder elsewhere"


def default_cache_dir() -> Path:
    """`$SPINESEARCH_CACHE`, else `$XDG_CACHE_HOME/spinesearch`, else `~/.cache/spinesearch`.

    Raises:
        DataError: there is none of them, as for a user without a home folder.
    """
    if own := os.environ.get("SPINESEARCH_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(shared) if shared else Path.home() / ".cache") / "spinesearch"
    except RuntimeError as error:  # no $HOME, and no entry of the user's in passwd
        raise DataError(f"cache folder: this user has no home folder to put it in; {MOVE_HINT}") from error


@contextmanager
def build_lock(entry: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Holds the lock on building one cache entry; other processes wait here until it is released.

    The kernel drops the lock when its holder dies, however that happens. The (empty) lock file stays:
    removing it would let a waiting process and a newcomer each lock a file of their own.

    Args:
        entry: what is built.
        waiting: called if another process holds the lock.

    Raises:
        DataError: the folder cannot be written, or its file system has no locks.
    """
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        handle = open(entry.with_name(f".{entry.name}.lock"), "wb")  # noqa: SIM115 - the with is below
    except OSError as error:
        raise DataError(
            f"cache folder {entry.parent}: cannot be written ({error.strerror or error}); {MOVE_HINT}"
        ) from error
    with handle:
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting is not None:
                    waiting()
                fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            raise DataError(
                f"cache folder {entry.parent}: no file locks there ({error.strerror or error}); {MOVE_HINT}"
            ) from error
        yield


def partial_path(entry: Path) -> Path:
    """Where an entry is built before it is renamed into place; one name, as the lock allows one builder."""
    return entry.with_name(f".{entry.name}.partial")


def publish(entry: Path) -> None:
    """Renames a finished build into place; from here on every process sees the whole entry."""
    partial_path(entry).rename(entry)
    _sync_folder(entry.parent)


def remove(entry: Path) -> None:
    """Removes an entry, or what a killed process left of one; who has it open keeps what it has mapped.

    Raises:
        OSError: it cannot be removed.
    """
    doomed = entry.with_name(f".{entry.name.strip('.')}.doomed")
    shutil.rmtree(doomed, ignore_errors=True)  # of a process that was killed
    if entry.exists():
        entry.rename(doomed)  # so that no process finds half of it
        shutil.rmtree(doomed, ignore_errors=True)


def check_free_space(folder: Path, num_bytes: int, what: str, hint: str = "") -> None:
    """Raises `DataError` unless `folder`'s file system has room for `num_bytes` more.

    Args:
        folder: it exists.
        num_bytes: what is needed.
        what: needs them.
        hint: a further thing that helps, to stand between others.
    """
    free = free_space(folder)
    if free < num_bytes:
        raise DataError(
            f"cache folder {folder}: {what} needs {readable_bytes(num_bytes)}, {readable_bytes(free)} are "
            f"free; free some space, {hint}or {MOVE_HINT}"
        )


def free_space(folder: Path) -> int:
    """Bytes that this user can still write where the folder is."""
    return shutil.disk_usage(folder).free


def readable_bytes(num_bytes: float) -> str:
    """A number of bytes for people: ``93.03 GB``, ``7.9 MB``."""
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
