"""The lease of a run: a small file that names the process which writes to it, with its last sign of life.

The owner's line comes first, then the sign of life; both of fixed length, so that one write in place changes
one of them and no reader on another machine looks at a file that was renamed away. The first is written by
who takes the run and by nobody else: a frozen owner that wakes up cannot put its name back.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

_OWNER_BYTES = 512
_SIGN_BYTES = 64
_RELEASED = "released"


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """Who writes to a run.

    Attributes:
        host: its machine's name, for people.
        pid: its process.
        kernel: identity of the running kernel and of the namespace its process numbers count in (containers
            on one machine share the one, not the other); empty if unknown.
        started: when the process started, in the kernel's ticks; a reused number has another.
        token: random; no two owners share one.
        since: local time there, for people.
    """

    host: str
    pid: int
    kernel: str
    started: str
    token: str
    since: str

    @classmethod
    def of_this_process(cls) -> Owner:
        """This process, with a new token."""
        return cls(
            # In ASCII, one byte a letter: the file's lines have a length.
            host=socket.gethostname()[:64].encode("ascii", "replace").decode(),
            pid=os.getpid(),
            kernel=_kernel(),
            started=_start_of(os.getpid()),
            token=secrets.token_hex(16),
            since=time.strftime("%Y-%m-%d %H:%M:%S"),
        )

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"

    @property
    def can_be_looked_up(self) -> bool:
        """Whether its process would be among those this one sees."""
        return bool(self.kernel) and self.kernel == _kernel()

    @property
    def is_running(self) -> bool:
        """Whether its process is there, if it can be looked up; one that is stopped is there."""
        return bool(self.started) and self.started == _start_of(self.pid)


class LeaseFile:
    """The file, as one owner writes it.

    Args:
        path: where it is.
        owner: who writes it.
    """

    def __init__(self, path: Path, owner: Owner) -> None:
        self._path = path
        self._owner = owner

    def take(self) -> None:
        """Put this owner in place of any other."""
        line = json.dumps(asdict(self._owner)).encode().ljust(_OWNER_BYTES - 1) + b"\n"
        self._write(0, line + self._sign("0"))

    def beat(self, count: int) -> None:
        """Give a sign of life; ``count`` makes it differ from the last."""
        self._write(_OWNER_BYTES, self._sign(str(count)))

    def release(self) -> None:
        """Say that this owner is done."""
        self._write(_OWNER_BYTES, self._sign(_RELEASED))

    def _sign(self, text: str) -> bytes:
        return f"{self._owner.token} {text}".encode().ljust(_SIGN_BYTES - 1) + b"\n"

    def _write(self, offset: int, data: bytes) -> None:
        # Opened and closed every time: closing is what sends it to an NFS server.
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            os.pwrite(file, data, offset)
        finally:
            os.close(file)


def read_lease(path: Path) -> tuple[Owner | None, str]:
    """The owner and its last sign of life by a lease file; no owner if it was given back or is not there.

    Raises:
        OSError: it cannot be read.
    """
    try:
        # Opened every time: opening is what asks an NFS server for the file's state.
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None, ""
    try:
        data = os.read(file, _OWNER_BYTES + _SIGN_BYTES)
    finally:
        os.close(file)
    sign = data[_OWNER_BYTES:].decode(errors="replace").strip()
    try:
        owner = Owner(**json.loads(data[:_OWNER_BYTES]))
    except (ValueError, TypeError):  # torn by a power cut
        return None, sign
    return (None if sign == f"{owner.token} {_RELEASED}" else owner), sign


def _kernel() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # no Linux
        return ""


def _start_of(pid: int) -> str:
    """When a process started, as the kernel counts it; empty if it has ended."""
    try:
        # Field 22; the command's name in the second, in parentheses, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()
