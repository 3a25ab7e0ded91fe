"""Any storage that fsspec reaches, as the mirror of a run needs it: `MirrorStorage`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

_PASSWORD = re.compile(r"[^/@]*:[^/]*@")  # as in user:secret@host


class MirrorError(ValueError):
    """The mirror cannot be used, or holds another course of the run; the message says what to do."""


class MirrorStorage:
    """The folder of one run's mirror.

    Args:
        url: where the mirrors of runs are, as fsspec takes it.
        name: the run's.

    Attributes:
        url: of the folder.

    Raises:
        MirrorError: it is not a URL, or the package for its protocol is missing.
    """

    def __init__(self, url: str, name: str) -> None:
        import fsspec

        protocol, separator, place = url.partition("://")
        if not (protocol and separator and place):
            raise MirrorError(
                f"mirror: must be a URL, such as s3://bucket/runs or file:///mnt/runs, got {url!r}"
            )
        if protocol in ("file", "local") and not place.startswith("/"):  # would be below the current folder
            raise MirrorError(
                f"mirror: a path after {protocol}:// must be absolute, as in file:///mnt/runs, got {url!r}"
            )
        if _PASSWORD.match(place):
            raise MirrorError(
                "mirror: its URL has a password in it, which would be printed and recorded; give it as the "
                f"package for {protocol}:// takes it: in the environment or a file of its own"
            )
        self.url = f"{url.rstrip('/')}/{name}"
        try:
            self._files, self._root = fsspec.url_to_fs(self.url)
        except Exception as error:  # of what library depends on the protocol; some connect already
            raise MirrorError(f"mirror: {url!r} cannot be used: {' '.join(str(error).split())}") from error

    def names(self, folder: str, pattern: re.Pattern[str]) -> frozenset[str]:
        """The files of a folder whose names fit a pattern."""
        self._files.invalidate_cache()
        try:
            paths = self._files.ls(f"{self._root}/{folder}", detail=False)
        except FileNotFoundError:
            return frozenset()
        names = (path.rstrip("/").rpartition("/")[2] for path in paths)
        return frozenset(name for name in names if pattern.fullmatch(name))

    def read(self, name: str) -> bytes:
        """The content of a file, named from the run's folder."""
        data: bytes = self._files.cat_file(f"{self._root}/{name}")
        return data

    def read_all(self, names: Sequence[str]) -> list[bytes]:
        """The contents of files, read together."""
        paths = [f"{self._root}/{name}" for name in names]
        # Not by `cat`, which takes brackets and stars in a name for patterns.
        return list(self._files.cat_ranges(paths, None, None, on_error="raise")) if paths else []

    def put(self, name: str, data: bytes, **options: Any) -> None:
        """Write a file; ``options`` are those of fsspec's `pipe_file`."""
        path = f"{self._root}/{name}"
        try:
            self._files.pipe_file(path, data, **options)
        except FileNotFoundError:
            # Where folders are real, paths begin at a root. Elsewhere it is the bucket that is missing, which
            # fsspec would make.
            if not path.startswith("/"):
                raise
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._files.pipe_file(path, data, **options)

    def remove(self, folder: str, names: Iterable[str]) -> None:
        """Remove files of a folder, as far as they are there."""
        for name in names:
            try:
                self._files.rm_file(f"{self._root}/{folder}/{name}")
            except FileNotFoundError:
                continue


def reason(error: Exception) -> str:
    """An error of a storage library in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
