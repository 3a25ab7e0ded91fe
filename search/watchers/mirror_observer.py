"""Keeps a run's mirror up to date beside the search: `MirrorObserver`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from spinesearch.results.ledger.ledger import Ledger
from spinesearch.results.ledger.lines import Event
from spinesearch.results.ledger.run import Run
from spinesearch.search.loop.observer import SearchObserver
from spinesearch.search.runs.mirror import Mirror, MirrorError, reason
from spinesearch.search.scoring.scorer import EngineError
from spinesearch.search.warn import warn

# Results are sent after each generation, and after this time where a generation takes hours.
_PAUSE_S = 300.0
# At the end, for what is not sent yet; on a slow network some 10 MB.
_LAST_S = 60.0


def send_rest(mirror: Mirror, run_dir: Path, ledger: Ledger, warn: Callable[[str], None]) -> None:
    """Bring the mirror of a run that is complete up to date; ``warn`` is called if that fails."""
    observer = MirrorObserver(mirror, run_dir, ledger, warn)
    observer.started(Run(), 0)
    observer.ended()


def send_exports(url: str, run_dir: Path, console: Console) -> None:
    """Send the exported architectures to the mirror at ``url``; warns if that fails."""
    try:
        Mirror(url, run_dir.resolve().name).push_exports(run_dir)
    except Exception as error:  # of what library depends on the protocol
        warn(console, f"mirror: the exports were not sent to {url}: {reason(error)}")


class MirrorObserver(SearchObserver):
    """Sends what is new from a thread of its own, so that slow storage does not keep workers waiting.

    Storage that fails is warned of once, and tried again at the next occasion.

    Args:
        mirror: after `Mirror.read`.
        run_dir: the run's folder.
        ledger: the run's.
        warn: receives, in one line, what goes wrong.

    Raises:
        EngineError: from any call, once another process has taken the run over.
    """

    def __init__(self, mirror: Mirror, run_dir: Path, ledger: Ledger, warn: Callable[[str], None]) -> None:
        self._mirror = mirror
        self._run_dir = run_dir
        self._ledger = ledger
        self._warn = warn
        self._wanted = threading.Event()
        self._is_ending = False
        self._asked = time.monotonic()
        self._has_failed = False
        self._messages: list[str] = []
        self._overtaken = ""
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)

    def started(self, run: Run, num_trials: int) -> None:
        """Send at once: problems with the storage should be known early."""
        self._thread.start()
        self.ask()

    def recorded(self, event: Event, run: Run) -> None:
        """Send after each generation, and if it is time."""
        if event["event"] == "update" or time.monotonic() - self._asked > _PAUSE_S:
            self.ask()

    def ticked(self, num_running: int) -> None:
        """Pass on the thread's messages.

        Raises:
            EngineError: another process has taken the run over.
        """
        while self._messages:
            self._warn(self._messages.pop(0))
        if self._overtaken:
            raise EngineError(self._overtaken)

    def ended(self) -> None:
        """Send the rest, within a minute."""
        if self._thread.ident is None:  # never started
            return
        self._is_ending = True
        self._wanted.set()
        self._thread.join(_LAST_S)
        if self._overtaken:
            self._messages.append(self._overtaken)
        while self._messages:
            self._warn(self._messages.pop(0))
        if self._thread.is_alive() or self._has_failed:
            what = "took too long" if self._thread.is_alive() else "could still not be written"
            self._warn(f"mirror: {self._mirror.url} {what}: its last results are only in {self._run_dir}")

    def ask(self) -> None:
        """Send what is new, soon."""
        self._asked = time.monotonic()
        self._wanted.set()

    def _work(self) -> None:
        is_ending = False
        while not is_ending and not self._overtaken:
            self._wanted.wait()
            self._wanted.clear()
            is_ending = self._is_ending
            try:
                self._mirror.push(self._run_dir, self._ledger.num_bytes)
            except MirrorError as error:
                self._overtaken = str(error)
            except Exception as error:  # of what library depends on the protocol
                if not self._has_failed:
                    self._messages.append(
                        f"mirror: {self._mirror.url} could not be written; it is tried again with "
                        f"what is new next: {reason(error)}"
                    )
                self._has_failed = True
            else:
                self._has_failed = False
