"""The end of a process that leaves candidates in training: `record_stop`."""

from __future__ import annotations

import contextlib

from spinesearch.results.ledger.ledger import Ledger, LedgerError
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.run_lock import RunInUseError


def record_stop(ledger: Ledger, run: Run, now: float) -> None:
    """Put on record that this process ends cleanly, so that what it leaves costs no attempt.

    Without that, the attempts that have begun count as lost with this process. Nothing is written where none
    has. A ledger that cannot be written has raised its error already.

    Args:
        ledger: the run's.
        run: what it holds; kept up to date.
        now: Unix time.
    """
    if not run.begun:
        return
    event = {"event": "stop", "time": now}
    with contextlib.suppress(LedgerError, RunInUseError, OSError):
        ledger.append([event])
        run.apply(event)
