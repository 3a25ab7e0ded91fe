"""``spinesearch show --follow``: what a run records, as it comes, wherever it is carried out."""

from __future__ import annotations

import os
import select
import stat
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spinesearch.cli.os_errors import named_files

if TYPE_CHECKING:
    from rich.console import Console

    from spinesearch.results.ledger.lines import Event
    from spinesearch.results.ledger.run import Run
    from spinesearch.search.watchers.display import Display

_LOOK_EVERY_S = 0.5


def follow(run_dir: Path, console: Console) -> Run:
    """Print new lines of a run until it is complete and its process has ended; returns it.

    Ends too when nobody reads them any more. A run that stops is waited for: somebody may resume it.

    Raises:
        LedgerError: its ledger is damaged.
        KeyboardInterrupt: by Ctrl-C.
    """
    from spinesearch.results.ledger.run_lock import running_owner
    from spinesearch.results.ledger.tail import LedgerTail
    from spinesearch.results.overview import is_complete

    with named_files({"RUN": run_dir}):
        tail = LedgerTail(run_dir)
        shown = _Shown(tail.run, console)
        was_running = True
        try:
            while _is_read():
                owner = running_owner(run_dir)
                # After the look at the owner: what that wrote before it ended is among them.
                shown.show(tail.read())
                if owner is None and tail.run.sessions and is_complete(tail.run):
                    break
                if owner is None and was_running:
                    console.print(f"{run_dir}: no process carries it out; waiting for one, until Ctrl-C")
                was_running = owner is not None
                time.sleep(_LOOK_EVERY_S)
        finally:
            shown.end()
    return tail.run


def _is_read() -> bool:
    """Whether somebody may read what is printed; of a pipe, known before the next print fails."""
    if getattr(sys.stdout, "error", None) is not None:
        return False
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # a stream without one, such as a notebook's
        return True
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return True
    reader = select.poll()
    reader.register(descriptor, 0)  # for POLLERR and POLLHUP alone
    return not reader.poll(0)


class _Shown:
    """The lines of a run: those that its own process prints.

    Args:
        run: kept up to date by its reader; empty at first.
        console: where to.
    """

    def __init__(self, run: Run, console: Console) -> None:
        self._run = run
        self._console = console
        self._display: Display | None = None
        self._is_begun = False

    def _begin(self) -> None:
        """Say where the run stands, under the configuration that it has now."""
        from spinesearch.results.overview import progress_of
        from spinesearch.results.training_table import training_status
        from spinesearch.search.watchers.display import Display

        if self._run.training is not None:
            self._console.print(training_status(self._run))
            return
        metric = self._run.config["search"]["reward_metric"]
        self._display = Display(self._console, reward_metric=metric)
        self._display.started(self._run, progress_of(self._run)[1])

    def show(self, events: Sequence[Event]) -> None:
        """Print what these events, which are in the run, are to people; of the first, what they come to."""
        if events and not self._is_begun:
            self._is_begun, events = True, ()
            self._begin()
        for event in events:
            if event["event"] == "run":
                self.end()
                self._console.print(f"continued by a process on {event.get('host') or 'another machine'}")
                self._begin()
            elif event["event"] == "measure":
                self._show_measurement(event)
            elif event["event"] == "diverge":
                self._console.print(f"step {event['step']}: the loss is not finite")
            elif self._display is not None:
                self._display.recorded(event, self._run)
        if self._display is not None:
            self._display.ticked(len(self._run.begun))

    def _show_measurement(self, event: Event) -> None:
        from spinesearch.results.training_table import best_measurement, measurement_lines

        is_best = event is best_measurement(self._run.measurements)
        for line in measurement_lines(event, is_best=is_best):
            self._console.print(line)

    def end(self) -> None:
        """Remove the live line."""
        if self._display is not None:
            self._display.ended()
