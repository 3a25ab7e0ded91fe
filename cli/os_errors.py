"""An error of the operating system in one line that names path, setting and next step."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_OF_A_DISK = (
    *_FULL,
    errno.EROFS,
    errno.EIO,
    errno.EFBIG,
    errno.ESTALE,
)  # what writing raises, without a path
_NEARLY_NO_BYTES = 2**20


class FileError(ValueError):
    """A file or folder cannot be used; the message names it and the setting that it comes from."""


@contextlib.contextmanager
def named_files(places: Mapping[str, Path]) -> Iterator[None]:
    """Turn an error of the operating system into one that names a setting.

    Args:
        places: what is read and written, by the setting or option that says where.

    Raises:
        FileError: instead of every ``OSError``.
    """
    try:
        yield
    except OSError as error:
        raise FileError(os_error_line(error, places)) from error


def check_target(setting: str, path: Path) -> None:
    """Returns if a file may be written there, before the work that it is to hold.

    Raises:
        FileError: its folder is not there or may not be written to, or the path is a folder.
    """
    if path.is_dir():
        raise FileError(f"{setting}: {path}: is a folder; give a file")
    if not path.parent.is_dir():
        raise FileError(
            f"{setting}: {path}: there is no folder {path.parent}; make it, or give another {setting}"
        )
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise FileError(f"{setting}: {path}: its folder may not be written to; give another {setting}")


def os_error_line(error: OSError, places: Mapping[str, Path]) -> str:
    """What went wrong, where, and what to do; ``places`` as for `named_files`."""
    if not _has_working_folder():
        return "the current folder is gone: another process removed it; change to one that exists (cd)"
    what = error.strerror or " ".join(str(error).split())
    if error.filename is not None:
        path = Path(os.fsdecode(error.filename))
        setting = _setting_of(path, places)
        where = f"{setting}: {path}" if setting else str(path)
    else:
        concerned = _without_path(error, places)
        setting = next(iter(concerned)) if len(concerned) == 1 else ""
        where = " or ".join(f"{name} {path}" for name, path in concerned.items())
    return f"{f'{where}: ' if where else ''}{what}{_next_step(error, setting)}"


def _has_working_folder() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _setting_of(path: Path, places: Mapping[str, Path]) -> str:
    """The setting whose place holds the path most closely, or lies below it."""
    inside = [name for name, place in places.items() if _is_inside(path, place)]
    return max(inside, key=lambda name: len(str(places[name])), default="")


def _is_inside(path: Path, place: Path) -> bool:
    path, place = Path(os.path.abspath(path)), Path(os.path.abspath(place))
    return path.is_relative_to(place) or place.is_relative_to(path)


def _without_path(error: OSError, places: Mapping[str, Path]) -> Mapping[str, Path]:
    """The places that an error of writing may come from: those that are full, or all of them."""
    if error.errno in _FULL:
        full = {name: place for name, place in places.items() if _free_bytes(place) < _NEARLY_NO_BYTES}
        return full or places
    return places if error.errno in _OF_A_DISK else {}


def _free_bytes(place: Path) -> float:
    """Of the file system on which a path is or would be made."""
    for folder in (place, *place.absolute().parents):
        with contextlib.suppress(OSError):
            status = os.statvfs(folder)
            return status.f_bavail * status.f_frsize
    return float("inf")


def _next_step(error: OSError, setting: str) -> str:
    other = f"give another {setting}" if setting else "choose another place"
    if error.errno in _FULL:
        return f"; make room there or {other}; what was written before is kept"
    if error.errno in _FORBIDDEN:
        return f"; {other}, which you may write to"
    if error.errno == errno.ENAMETOOLONG:
        return "; give a shorter name"
    if error.errno in (errno.ENOENT, errno.ENOTDIR) and setting:
        return f"; {other}"
    return ""
