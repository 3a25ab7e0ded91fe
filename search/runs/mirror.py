"""A copy of a run on any storage that fsspec reaches, from which another machine resumes: `Mirror`.

``<url>/<name>/`` holds

``ledger/000000000000.jsonl, ...``   the ledger in parts, each named by the byte it begins at,
``controller/update-000007.pt, ...`` the controller's newest states,
``files/trial-000123.state.pt, ...`` what trainings left,
``export/*.json``                    the best architectures, at the end.

A part is written once, under a name that no other head has taken: an object store makes it appear whole and
lets one writer have the name, and only what is new is sent. Elsewhere a part may be torn; it counts as far as
its lines are whole, and the next one begins there.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from spinesearch.results.ledger.files import FOLDER as FILES_FOLDER
from spinesearch.results.ledger.ledger import LEDGER_NAME, Ledger
from spinesearch.search.loop.checkpoint import FOLDER as CONTROLLER_FOLDER

_LEDGER_FOLDER = "ledger"
_EXPORT_FOLDER = "export"
_PART_NAME = re.compile(r"(\d{12,})\.jsonl")
# What is kept beside the ledger, by folder: names of files, each of which is written once.
_KEPT = {
    CONTROLLER_FOLDER: re.compile(r"update-\d+\.pt"),
    FILES_FOLDER: re.compile(r"(?:trial|finalist)-\d+\.[\w.-]*"),
}
_EXPORT_NAME = re.compile(r"[^/]+\.(?:json|safetensors)")
_PASSWORD = re.compile(r"[^/@]*:[^/]*@")  # as in user:secret@host


class MirrorError(ValueError):
    """The mirror cannot be used, or holds another course of the run; the message says what to do."""


class Mirror:
    """The mirror of one run.

    Args:
        url: where the mirrors of runs are, as fsspec takes it: ``s3://bucket/runs``, ``file:///mnt/runs``.
        name: the run's.

    Attributes:
        url: that of the run's mirror.

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
        self._parts: frozenset[str] = frozenset()  # those known to be there
        self._end = 0  # bytes of the ledger in them
        self._kept: dict[str, frozenset[str]] = dict.fromkeys(_KEPT, frozenset())  # those known to be there

    def read(self) -> bytes:
        """The mirror's ledger as far as its lines are whole; empty if there is none.

        Raises:
            MirrorError: a part is missing, or the storage cannot be reached.
        """
        try:
            return self._read()
        except MirrorError:
            raise
        except Exception as error:  # of what library depends on the protocol
            raise MirrorError(
                f"mirror: {self.url} cannot be read: {reason(error)}; nothing was started, as the run may "
                "be there: restore access to it, or continue without it by mirror=null"
            ) from error

    def pull(self, ledger: Ledger, theirs: bytes, run_dir: Path, report: Callable[[str], None]) -> None:
        """Bring a run to where its mirror is, if the mirror is further on; the longer ledger wins.

        Args:
            ledger: the run's.
            theirs: what `read` gave.
            run_dir: the run's folder.
            report: called with one line that says what was fetched.

        Raises:
            MirrorError: the two went different ways, or the storage cannot be reached.
            LedgerError: the mirror's ledger is damaged.
        """
        ours = (run_dir / LEDGER_NAME).read_bytes()
        if not theirs.startswith(ours) and not ours.startswith(theirs):
            raise MirrorError(
                f"{run_dir} and its mirror {self.url} went different ways: they share the first "
                f"{_num_common(ours, theirs)} events, then the folder has {_num_lines(ours)} in all and the "
                f"mirror {_num_lines(theirs)}; move one of the two away, or resume from the folder alone by "
                "mirror=null"
            )
        if len(theirs) > len(ours):
            num_events = ledger.catch_up(theirs)
            report(f"{run_dir}: fetched {num_events} events from {self.url}")
        for folder, lost in (
            (CONTROLLER_FOLDER, "the controller's states were not fetched and will be replayed"),
            (FILES_FOLDER, "files of trainings were not fetched; what goes on from them is trained anew"),
        ):
            try:
                self._pull_kept(run_dir, folder)
            except Exception as error:  # of what library depends on the protocol
                report(f"mirror: {lost}: {reason(error)}")

    def push(self, run_dir: Path, num_bytes: int) -> None:
        """Send what is new: the ledger up to ``num_bytes``, then what is kept beside it.

        Raises:
            MirrorError: another head has resumed the run from this mirror.
            Exception: the storage failed, in the manner of its library; to be tried again.
        """
        self._push_ledger(run_dir / LEDGER_NAME, num_bytes)
        for folder, pattern in _KEPT.items():
            names = _names(run_dir / folder, pattern)
            for name in names - self._kept[folder]:
                try:
                    data = (run_dir / folder / name).read_bytes()
                except FileNotFoundError:  # an old one, removed meanwhile
                    continue
                self._put(f"{folder}/{name}", data)
            self._remove(folder, self._kept[folder] - names)
            self._kept[folder] = names

    def push_exports(self, run_dir: Path) -> None:
        """Send the exported architectures, in place of any that were sent before.

        Raises:
            Exception: the storage failed, in the manner of its library.
        """
        names = _names(run_dir / _EXPORT_FOLDER, _EXPORT_NAME)
        for name in names:
            self._put(f"{_EXPORT_FOLDER}/{name}", (run_dir / _EXPORT_FOLDER / name).read_bytes())
        self._remove(_EXPORT_FOLDER, self._list(_EXPORT_FOLDER, _EXPORT_NAME) - names)

    def _push_ledger(self, path: Path, num_bytes: int) -> None:
        for _ in range(2):
            parts = self._list(_LEDGER_FOLDER, _PART_NAME)
            if parts != self._parts:  # a part of ours arrived after all, or it is another head's
                theirs = self._read()
                if not path.read_bytes()[:num_bytes].startswith(theirs):
                    break
            if num_bytes <= self._end:
                return
            with path.open("rb") as file:
                file.seek(self._end)
                data = file.read(num_bytes - self._end)
            part = f"{self._end:012d}.jsonl"
            # A part that is there already and begins here holds no whole line: nothing is lost with it.
            mode = "overwrite" if part in self._parts else "create"
            try:
                self._put(f"{_LEDGER_FOLDER}/{part}", data, mode=mode)
            except FileExistsError:
                continue
            self._parts |= {part}
            self._end = num_bytes
            return
        raise MirrorError(
            f"{self.url}: another head has resumed this run and written to the mirror what this one does "
            f"not know; this one stops, its own results are in {path.parent}"
        )

    def _read(self) -> bytes:
        """The mirror's ledger as far as its lines are whole; takes note of its parts and length."""
        self._parts = self._list(_LEDGER_FOLDER, _PART_NAME)
        paths = [f"{self._root}/{_LEDGER_FOLDER}/{part}" for part in sorted(self._parts, key=_start)]
        # Not by `cat`, which takes brackets and stars in a name for patterns.
        contents = self._files.cat_ranges(paths, None, None, on_error="raise") if paths else []
        data = bytearray()
        for path, content in zip(paths, contents, strict=True):
            start = _start(path.rpartition("/")[2])
            if start > len(data):
                raise MirrorError(
                    f"{self.url}: bytes {len(data)} to {start} of its ledger are missing; restore them, or "
                    "resume from the run's folder with another mirror=..."
                )
            # What a torn part had after its last whole line is replaced by the part that begins there.
            del data[start:]
            data += content
        del data[data.rfind(b"\n") + 1 :]
        self._end = len(data)
        return bytes(data)

    def _pull_kept(self, run_dir: Path, folder: str) -> None:
        self._kept[folder] = self._list(folder, _KEPT[folder])
        for name in self._kept[folder]:
            path = run_dir / folder / name
            if not path.exists():
                data = self._files.cat_file(f"{self._root}/{folder}/{name}")
                path.parent.mkdir(exist_ok=True)
                # Torn, it will be passed over: its digest is in the ledger.
                path.write_bytes(data)

    def _list(self, folder: str, pattern: re.Pattern[str]) -> frozenset[str]:
        self._files.invalidate_cache()
        try:
            paths = self._files.ls(f"{self._root}/{folder}", detail=False)
        except FileNotFoundError:
            return frozenset()
        names = (path.rstrip("/").rpartition("/")[2] for path in paths)
        return frozenset(name for name in names if pattern.fullmatch(name))

    def _put(self, name: str, data: bytes, **options: Any) -> None:
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

    def _remove(self, folder: str, names: Iterable[str]) -> None:
        for name in names:
            try:
                self._files.rm_file(f"{self._root}/{folder}/{name}")
            except FileNotFoundError:
                continue


def reason(error: Exception) -> str:
    """An error of a storage library in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _start(part: str) -> int:
    return int(part.partition(".")[0])


def _names(folder: Path, pattern: re.Pattern[str]) -> frozenset[str]:
    if not folder.is_dir():
        return frozenset()
    return frozenset(path.name for path in folder.iterdir() if pattern.fullmatch(path.name))


def _num_lines(data: bytes) -> int:
    return data.count(b"\n")


def _num_common(a: bytes, b: bytes) -> int:
    pairs = zip(a.splitlines(), b.splitlines(), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
