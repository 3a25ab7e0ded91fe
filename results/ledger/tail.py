"""A ledger that another process writes, read as it grows: `LedgerTail`."""

from __future__ import annotations

from pathlib import Path

from spinesearch.results.ledger.ledger import LEDGER_NAME, LedgerError, parse_ledger, without_collection
from spinesearch.results.ledger.lines import Event
from spinesearch.results.ledger.run import Run


class LedgerTail:
    """Takes what is new in a run's ledger into a `Run`.

    Args:
        run_dir: the run's folder.

    Attributes:
        run: what the ledger has held so far; empty at first.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._num_bytes = 0
        self._num_events = 0
        self.run = Run()

    def read(self) -> list[Event]:
        """The events since the last call, which are all in `run`.

        Raises:
            LedgerError: it is damaged, or has lost lines that were read before, or is not there.
            OSError: it cannot be read.
        """
        path = self._run_dir / LEDGER_NAME
        try:
            # Opened every time: opening is what asks an NFS server for what is new.
            with path.open("rb") as file:
                if file.seek(0, 2) < self._num_bytes:
                    raise LedgerError(f"{path}: has become shorter; give the command again")
                file.seek(self._num_bytes)
                data = file.read()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise LedgerError(f"{self._run_dir}: is not a run: it has no {LEDGER_NAME}") from error
        with without_collection():
            contents = parse_ledger(data, path, first=self._num_events)
            for number, event in enumerate(contents.events, start=self._num_events + 1):
                self.run.take_in(event, path, number)
        self._num_bytes += contents.num_bytes
        self._num_events += len(contents.events)
        return list(contents.events)
