"""What a report is made from: a run's ledger as far as it can be read, and whether somebody writes to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spinesearch.results.export.specs import Noise
from spinesearch.results.ledger.lease import read_lease
from spinesearch.results.ledger.ledger import LEDGER_NAME, read_ledger
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.run_lock import LEASE_NAME


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
    contents = read_ledger(run_dir / LEDGER_NAME, up_to_damage=True)
    run = Run()
    notes = [contents.torn] if contents.torn else []
    for line, event in enumerate(contents.events, start=1):
        try:
            run.apply(event)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            notes.append(
                f"{run_dir / LEDGER_NAME}: line {line} does not fit: {error}; shown is what stands before"
            )
            break
    if not run.sessions:
        notes.append("no search has begun: there is nothing of it to show")
    elif not any(trial.is_done for trial in run.trials):
        notes.append("no candidate has a result yet")
    return Source(name=name, run=run, notes=tuple(notes), state=_state(run, run_dir))


def _state(run: Run, run_dir: Path) -> str:
    """Whether the run is complete, in progress or stopped."""
    owner, _ = read_lease(run_dir / LEASE_NAME)
    if owner is not None and (owner.is_running or not owner.can_be_looked_up):
        return f"in progress: {owner}"
    if not run.sessions or run.kind != "search":
        return ""
    return "complete" if run.num_done >= run.config["search"]["num_trials"] else "stopped"
