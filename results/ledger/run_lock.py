"""One writer per run, on a local disk as on shared storage: `RunLock`.

Two things hold a run. The kernel's lock on the file ``lock`` goes with its process, however that ends; NFS
carries it to the server (as a byte-range lock, since Linux 2.6.12), but not on a mount with ``local_lock`` or
``nolock``, some file systems have none (ENOLCK), and a server may keep that of a machine that died. Therefore
the file ``lease`` beside it names the owner, with a random token and a heartbeat that counts. Who has the
token is the writer; a writer looks for its token around every write, and stops without it.

Whether an owner is dead is never decided by comparing the clocks of two machines. On the same kernel its
process is looked up; elsewhere its heartbeat is watched for a while by this process's own monotonic clock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from spinesearch.results.ledger.lease import LeaseFile, Owner, read_lease

LOCK_NAME = "lock"
LEASE_NAME = "lease"

HEARTBEAT_S = 5.0
# Four heartbeats: an NFS client may hold back what it writes for a few seconds, and a busy server a reply.
DEAD_AFTER_S = 20.0
# Between writing a token and trusting that it stands, where the kernel's lock does not decide.
_SETTLE_S = 1.0
_POLL_S = 0.25
# What flock says where the file system or its server has no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


# By the time stamp of a lease, which may be of another machine's clock: for what people see only.
_LOOKS_ALIVE_S = 60.0


def running_owner(run_dir: Path) -> Owner | None:
    """The process that carries out a run, as far as can be seen at once; None if none does.

    On this kernel the process is looked up. Elsewhere its last sign of life is to be less than a minute old
    by the lease's time stamp, which is enough to tell people, and not enough to take a run over by.

    Raises:
        OSError: the lease cannot be read.
    """
    path = run_dir / LEASE_NAME
    owner, _ = read_lease(path)
    if owner is None:
        return None
    if owner.can_be_looked_up:
        return owner if owner.is_running else None
    return owner if time.time() - path.stat().st_mtime < _LOOKS_ALIVE_S else None


class RunInUseError(ValueError):
    """Another process writes to the run, or has taken it over; the message names it."""


class RunLock:
    """The right to write to a run, from construction to `release`.

    Args:
        run_dir: the run's folder.
        report: receives one line if it will take a while.

    Attributes:
        owner: this process.
        must_renew: an earlier owner may be frozen, not dead, and might yet write a line. The ledger must
            therefore become a new file, which that owner does not have open.

    Raises:
        RunInUseError: another process has the run.
    """

    def __init__(self, run_dir: Path, *, report: Callable[[str], None] | None = None) -> None:
        self._run_dir = run_dir
        self._report = report or (lambda line: None)
        self.owner = Owner.of_this_process()
        self._lease_path = run_dir / LEASE_NAME
        self._lease = LeaseFile(self._lease_path, self.owner)
        self.must_renew = False
        self._file = -1
        self._released = threading.Event()
        try:
            self._acquire()
        except BaseException:
            self._close()
            raise
        self._beating = threading.Thread(target=self._beat, name="run-lease", daemon=True)
        self._beating.start()

    def check(self) -> None:
        """Check that the run is still this process's; a matter of microseconds on a local disk.

        Raises:
            RunInUseError: another process took it over, or the folder is gone.
        """
        owner, _ = read_lease(self._lease_path)
        if owner is None or owner.token != self.owner.token:
            by = f"another process ({owner}) has taken it over" if owner else f"its {LEASE_NAME} file is gone"
            raise RunInUseError(
                f"{self._run_dir}: this process has lost the run: {by}; "
                "it stops here, and what it has recorded is safe"
            )

    def release(self) -> None:
        """Give the run back; further calls do nothing."""
        if self._file >= 0 and not self._released.is_set():
            self._released.set()
            self._beating.join(HEARTBEAT_S)  # a beat on its way would take the lease back; a server may hang
            with contextlib.suppress(OSError):
                self._lease.release()
        self._close()

    def _close(self) -> None:
        self._released.set()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _acquire(self) -> None:
        is_ours, is_known = self._lock_file()
        owner, sign = read_lease(self._lease_path)
        if owner is None:
            if not is_ours and is_known:
                raise self._in_use("unknown")
        elif owner.can_be_looked_up:
            if owner.is_running:
                raise self._in_use(str(owner))
            if not is_ours:  # its lock outlives it, or another process has just taken that
                self._watch(owner, sign, _SETTLE_S)
        else:
            self._report(
                f"{self._run_dir}: {owner} holds this run by its {LEASE_NAME} file; watching its heartbeat "
                f"for {DEAD_AFTER_S:g} s before this process takes the run over"
            )
            self._watch(owner, sign, DEAD_AFTER_S)
            self.must_renew = True
        if not is_ours and is_known:
            (self._run_dir / LOCK_NAME).unlink(missing_ok=True)
            os.close(self._file)
            is_ours, is_known = self._lock_file()
        self._lease.take()
        self.must_renew |= not is_ours
        if self.must_renew:  # a mount may give its lock to a process on either machine
            time.sleep(_SETTLE_S)
            self.check()

    def _lock_file(self) -> tuple[bool, bool]:
        """Whether this process has the kernel's lock, and whether there is one at all."""
        path = self._run_dir / LOCK_NAME
        while True:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False, True
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                return False, False
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._file), os.stat(path)):
                    return True, True
            os.close(self._file)  # that of an owner taken to be dead, removed between the two calls

    def _watch(self, owner: Owner, sign: str, seconds: float) -> None:
        """Return when an owner showed no life for so long.

        Raises:
            RunInUseError: it did, or another process took over.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(min(_POLL_S, seconds / 4))
            now, sign_now = read_lease(self._lease_path)
            if (now, sign_now) != (owner, sign):
                raise self._in_use(str(now or owner))

    def _in_use(self, owner: str) -> RunInUseError:
        return RunInUseError(
            f"{self._run_dir}: another process is writing to this run ({owner}); "
            "stop it or wait for its end, then give the command again"
        )

    def _beat(self) -> None:
        count = 0
        while not self._released.wait(HEARTBEAT_S):
            count += 1
            try:
                self.check()
                self._lease.beat(count)
            except RunInUseError:
                return
            except OSError:
                continue  # a server that is away for a while; should another take over, `check` will notice
