"""What a report is made from: a run's ledger as far as it can be read, and whether somebody writes to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spinesearch.results.export.specs import Noise
from spinesearch.results.ledger.ledger import LEDGER_NAME, LedgerError, read_ledger
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.run_lock import running_owner
from spinesearch.results.overview import is_complete


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One run of a report.

    Attributes:
        name: what it is called in the report.
        run: what its ledger says, as far as it can be read; without sessions if that is nothing.
        notes: what is missing and why, for people.
        state: whether it goes on.
        noise: of its rewards, where a study measured it.
    """

    name: str
    run: Run
    notes: tuple[str, ...] = ()
    state: str = ""
    noise: Noise | None = None


def read_source(run_dir: Path, *, name: str) -> Source:
    """A run of a report: all that stands before the first damage to its ledger.

    Args:
        run_dir: its folder.
        name: as the report is to call it.

    Raises:
        LedgerError: it is not a run.
    """
    path = run_dir / LEDGER_NAME
    contents = read_ledger(path, up_to_damage=True, emptied=("log_probs",))
    run = Run()
    notes = [contents.torn] if contents.torn else []
    for line, event in enumerate(contents.events, start=1):
        try:
            run.take_in(event, path, line)
        except LedgerError as error:
            notes.append(f"{error}; what stands before it is read")
            break
    if not run.sessions:
        notes.append("no search has begun: there is nothing of it to show")
    elif not any(trial.is_done for trial in run.trials):
        notes.append("no candidate has a result yet")
    return Source(name=name, run=run, notes=tuple(notes), state=_state(run, run_dir))


def _state(run: Run, run_dir: Path) -> str:
    """Whether the run is complete, running or stopped."""
    owner = running_owner(run_dir)
    if owner is not None:
        return f"running: {owner}"
    if not run.sessions or run.kind != "search":
        return ""
    return "complete" if is_complete(run) else "stopped"
