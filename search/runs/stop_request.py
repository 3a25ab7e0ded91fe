"""A run asked to stop from elsewhere: a file in its folder or mirror, `StopRequests` and `request_stop`.

The file ``stop`` says who asks. The process that carries out the run looks for it, ends as by Ctrl-C, and
removes the file when all is recorded and sent. What lies there when a process takes up the run is from before
and is removed, too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from spinesearch.results.ledger.lease import Owner
from spinesearch.search.runs.mirror import Mirror

STOP_NAME = "stop"
_LOOK_EVERY_S = 0.5  # as often as a search's display is refreshed
_ASK_MIRROR_EVERY_S = 10.0  # each time is a request to the storage, which costs


def request_stop(run_dir: Path) -> None:
    """Ask the process that carries out the run in a folder to stop."""
    (run_dir / STOP_NAME).write_text(asker(), encoding="utf-8")


def asker() -> str:
    """What a request says: who asks."""
    return str(Owner.of_this_process())


def withdraw_stop(run_dir: Path) -> None:
    """Remove a request."""
    (run_dir / STOP_NAME).unlink(missing_ok=True)


class StopRequests:
    """Looks for requests from a thread while its process carries out a run; the caller holds the run's lock.

    The thread ends the process's work as Ctrl-C does, so that no training in this process, no packing of data
    and no slow storage makes a request wait.

    Args:
        run_dir: the run's folder.
        mirror: its mirror; None without one.
        report: called with one line when a request has come.
        interrupt: ends the work of the main thread.
    """

    def __init__(
        self,
        run_dir: Path,
        mirror: Mirror | None,
        report: Callable[[str], None],
        interrupt: Callable[[], None] | None = None,
    ) -> None:
        self._run_dir = run_dir
        self._mirror = mirror
        self._report = report
        self._interrupt = interrupt or _interrupt
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="stop-requests", daemon=True)

    def __enter__(self) -> Self:
        withdraw_stop(self._run_dir)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Answer what requests there are: the work is over."""
        self._is_over.set()
        self._thread.join(_ASK_MIRROR_EVERY_S)  # storage may hang
        with contextlib.suppress(OSError):
            withdraw_stop(self._run_dir)
        self._withdraw_from_mirror()

    def _work(self) -> None:
        self._withdraw_from_mirror()
        asked = time.monotonic()
        while not self._is_over.wait(_LOOK_EVERY_S):
            found = self._found_here()
            if not found and time.monotonic() - asked >= _ASK_MIRROR_EVERY_S:
                found, asked = self._found_in_mirror(), time.monotonic()
            if found:
                self._report(f"{self._run_dir}: asked to stop by `spinesearch stop`, {found}")
                self._interrupt()
                return

    def _found_here(self) -> str:
        """Who asks by a file in the folder; empty if nobody does."""
        with contextlib.suppress(OSError):
            # Opening the folder asks an NFS server for its state; a look at the name may be answered from
            # what was there a minute ago.
            if STOP_NAME in os.listdir(self._run_dir):
                return (self._run_dir / STOP_NAME).read_text(encoding="utf-8") or "unknown"
        return ""

    def _found_in_mirror(self) -> str:
        if self._mirror is None:
            return ""
        with contextlib.suppress(Exception):  # of what library depends on the protocol; looked at again
            return self._mirror.stop_request()
        return ""

    def _withdraw_from_mirror(self) -> None:
        if self._mirror is not None and self._found_in_mirror():
            with contextlib.suppress(Exception):
                self._mirror.withdraw_stop()


def _interrupt() -> None:
    """A signal to the main thread: SIGTERM where it is handled, as jobs of a shell may ignore SIGINT."""
    is_handled = callable(signal.getsignal(signal.SIGTERM))
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGTERM if is_handled else signal.SIGINT)
