"""A copy of a run on any storage that fsspec reaches, from which another machine resumes: `Mirror`.

``<url>/<name>/`` holds

``ledger/000000000000.jsonl, ...``   the ledger in parts, each named by the byte it begins at,
``controller/update-000007.pt, ...`` the controller's newest states,
``files/trial-000123.state.pt, ...`` what trainings left,
``export/*.json``                    the best architectures, at the end,
``checkpoints/step-000000042.ckpt``  of a long training: its newest states,
``weights/best.safetensors, ...``    of a long training: its weights, and what says what they are,
``requests/stop``                    for a moment, a request to stop (`stop_request`).

A part is written once, under a name that no other head has taken: an object store makes it appear whole and
lets one writer have the name, and only what is new is sent. Elsewhere a part may be torn; it counts as far as
its lines are whole, and the next one begins there.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path

from spinesearch.data.whole_file import write_whole
from spinesearch.results.ledger.files import FOLDER as FILES_FOLDER
from spinesearch.results.ledger.files import WEIGHTS_FOLDER
from spinesearch.results.ledger.ledger import LEDGER_NAME, Ledger
from spinesearch.search.loop.checkpoint import FOLDER as CONTROLLER_FOLDER
from spinesearch.search.runs.mirror_storage import MirrorError as MirrorError
from spinesearch.search.runs.mirror_storage import MirrorStorage
from spinesearch.search.runs.mirror_storage import reason as reason
from spinesearch.training.run.train_checkpoint import FOLDER as CHECKPOINT_FOLDER

_LEDGER_FOLDER = "ledger"
_EXPORT_FOLDER = "export"
_REQUESTS_FOLDER, _STOP_NAME = "requests", "stop"
_PART_NAME = re.compile(r"(\d{12,})\.jsonl")
# What is kept beside the ledger, by folder: names of files, each of which is written once.
_KEPT = {
    CONTROLLER_FOLDER: re.compile(r"update-\d+\.pt"),
    FILES_FOLDER: re.compile(r"(?:trial|finalist)-\d+\.[\w.-]*"),
    CHECKPOINT_FOLDER: re.compile(r"step-\d+\.ckpt"),
}
# What takes the place of its like of before.
_WEIGHTS_NAME = re.compile(r"(?:best|last)\.(?:safetensors|json)|README\.md")
_EXPORT_NAME = re.compile(r"[^/]+\.(?:json|safetensors)")


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
        self._storage = MirrorStorage(url, name)
        self.url = self._storage.url
        self._parts: frozenset[str] = frozenset()  # those known to be there
        self._end = 0  # bytes of the ledger in them
        self._kept: dict[str, frozenset[str]] = dict.fromkeys(_KEPT, frozenset())  # those known to be there
        self._weights: dict[str, int] = {}  # those known to be there, with when they were written here

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
        try:  # before the ledger, which says that they are there
            self._pull_kept(run_dir, CHECKPOINT_FOLDER)
            if len(theirs) > len(ours):
                self._pull_weights(run_dir)
        except Exception as error:  # of what library depends on the protocol
            raise MirrorError(
                f"mirror: {self.url}: the training's state cannot be read: {reason(error)}; restore access, "
                "or continue from the folder alone by mirror=null"
            ) from error
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
        """Send what is new: weights, the ledger up to ``num_bytes``, then what is kept beside it.

        Raises:
            MirrorError: another head has resumed the run from this mirror.
            Exception: the storage failed, in the manner of its library; to be tried again.
        """
        self._push_weights(run_dir, num_bytes)
        self._push_ledger(run_dir / LEDGER_NAME, num_bytes)
        for folder, pattern in _KEPT.items():
            names = _names(run_dir / folder, pattern)
            for name in names - self._kept[folder]:
                try:
                    data = (run_dir / folder / name).read_bytes()
                except FileNotFoundError:  # an old one, removed meanwhile
                    continue
                self._storage.put(f"{folder}/{name}", data)
            self._storage.remove(folder, self._kept[folder] - names)
            self._kept[folder] = names

    def push_exports(self, run_dir: Path) -> None:
        """Send the exported architectures, in place of any that were sent before.

        Raises:
            Exception: the storage failed, in the manner of its library.
        """
        names = _names(run_dir / _EXPORT_FOLDER, _EXPORT_NAME)
        for name in names:
            self._storage.put(f"{_EXPORT_FOLDER}/{name}", (run_dir / _EXPORT_FOLDER / name).read_bytes())
        self._storage.remove(_EXPORT_FOLDER, self._storage.names(_EXPORT_FOLDER, _EXPORT_NAME) - names)

    def _push_weights(self, run_dir: Path, num_bytes: int) -> None:
        """Send the weights that were written since the last time: before the ledger says that they are."""
        folder = run_dir / WEIGHTS_FOLDER
        names = _names(folder, _WEIGHTS_NAME)
        written = {name: (folder / name).stat().st_mtime_ns for name in names}
        changed = [name for name, time_ns in written.items() if self._weights.get(name) != time_ns]
        if changed and not self._is_ours(run_dir / LEDGER_NAME, num_bytes):
            raise self._overtaken(run_dir)
        for name in sorted(changed):
            self._storage.put(f"{WEIGHTS_FOLDER}/{name}", (folder / name).read_bytes())
            self._weights[name] = written[name]

    def _pull_weights(self, run_dir: Path) -> None:
        for name in self._storage.names(WEIGHTS_FOLDER, _WEIGHTS_NAME):
            path = run_dir / WEIGHTS_FOLDER / name
            path.parent.mkdir(exist_ok=True)
            write_whole(path, self._storage.read(f"{WEIGHTS_FOLDER}/{name}"))
            self._weights[name] = path.stat().st_mtime_ns

    def _is_ours(self, path: Path, num_bytes: int) -> bool:
        """Whether nobody else has written to the mirror's ledger; takes note of parts and length."""
        if self._storage.names(_LEDGER_FOLDER, _PART_NAME) == self._parts:
            return True
        # A part of ours arrived after all, or it is another head's.
        return path.read_bytes()[:num_bytes].startswith(self._read())

    def _overtaken(self, run_dir: Path) -> MirrorError:
        return MirrorError(
            f"{self.url}: another head has resumed this run and written to the mirror what this one does "
            f"not know; this one stops, its own results are in {run_dir}"
        )

    def stop_request(self) -> str:
        """Who asks the process that carries out the run to stop; empty if nobody does.

        Raises:
            Exception: the storage failed, in the manner of its library.
        """
        try:
            return self._storage.read(f"{_REQUESTS_FOLDER}/{_STOP_NAME}").decode() or "unknown"
        except FileNotFoundError:
            return ""

    def request_stop(self, asker: str) -> None:
        """Ask that process to stop; raises as `stop_request`."""
        self._storage.put(f"{_REQUESTS_FOLDER}/{_STOP_NAME}", asker.encode())

    def withdraw_stop(self) -> None:
        """Remove the request; raises as `stop_request`."""
        self._storage.remove(_REQUESTS_FOLDER, [_STOP_NAME])

    def _push_ledger(self, path: Path, num_bytes: int) -> None:
        for _ in range(2):
            if not self._is_ours(path, num_bytes):
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
                self._storage.put(f"{_LEDGER_FOLDER}/{part}", data, mode=mode)
            except FileExistsError:
                continue
            self._parts |= {part}
            self._end = num_bytes
            return
        raise self._overtaken(path.parent)

    def _read(self) -> bytes:
        """The mirror's ledger as far as its lines are whole; takes note of its parts and length."""
        self._parts = self._storage.names(_LEDGER_FOLDER, _PART_NAME)
        parts = sorted(self._parts, key=_start)
        contents = self._storage.read_all([f"{_LEDGER_FOLDER}/{part}" for part in parts])
        data = bytearray()
        for part, content in zip(parts, contents, strict=True):
            start = _start(part)
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
        self._kept[folder] = self._storage.names(folder, _KEPT[folder])
        for name in self._kept[folder]:
            path = run_dir / folder / name
            if not path.exists():
                data = self._storage.read(f"{folder}/{name}")
                path.parent.mkdir(exist_ok=True)
                # Torn, it will be passed over: its digest is in the ledger.
                path.write_bytes(data)


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
