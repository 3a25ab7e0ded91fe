"""A run in one line: what it is, whether it is being carried out, how far it is, its best: `Overview`."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from spinesearch.results.finalists import finished_rerank, num_trainings
from spinesearch.results.ledger.ledger import LEDGER_NAME, LedgerError
from spinesearch.results.ledger.run import Run, load_run, ranked_trials
from spinesearch.results.ledger.run_lock import running_owner
from spinesearch.results.ledger.trial import LONG_FIELDS
from spinesearch.results.studies.study import SIDES
from spinesearch.results.tables import duration, narrow_table
from spinesearch.results.training_table import best_measurement, main_metric, main_score

_LEAST_WIDTH = 80  # columns of a terminal that shows a name of some length beside all figures

State = Literal["running", "stopped", "complete", "damaged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """What `spinesearch ls` says of a run.

    Attributes:
        run: its folder.
        kind: ``search``, ``study`` or ``training``; empty where its ledger does not say.
        state: whether a process carries it out, by the lease; else whether anything is left to do.
        done: candidates, trainings of a study, or steps measured of a training.
        of: how many there are to be.
        ranked: trainings of the newest ranking of finalists that have ended, and how many there are.
        best: the best reward of a search, the best AP of a training.
        metric: what it is a value of.
        begun: Unix time.
        changed: Unix time of the last line of its ledger.
        owner: the process that carries it out, for people.
        problem: what is wrong with a damaged one.
    """

    run: str
    kind: str = ""
    state: State
    done: int = 0
    of: int = 0
    ranked: tuple[int, int] | None = None
    best: float | None = None
    metric: str = ""
    begun: float | None = None
    changed: float
    owner: str = ""
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def overview(run_dir: Path) -> Overview:
    """What there is to say of the run in a folder that holds a ledger, damaged or not.

    Raises:
        LedgerError: it holds none.
        OSError: it cannot be read.
    """
    try:
        return overview_of(load_run(run_dir, emptied=LONG_FIELDS)[0], run_dir)
    except LedgerError as error:
        if not (run_dir / LEDGER_NAME).exists():
            raise
        ledger, owner = (run_dir / LEDGER_NAME).stat(), running_owner(run_dir)
        is_beginning = owner is not None and not ledger.st_size
        return Overview(
            run=str(run_dir),
            state="running" if is_beginning else "damaged",
            changed=ledger.st_mtime,
            owner=str(owner or ""),
            problem="" if is_beginning else str(error).removeprefix(f"{run_dir}: "),
        )


def overview_of(run: Run, run_dir: Path) -> Overview:
    """What there is to say of a run that was read from a folder.

    Raises:
        OSError: its lease cannot be read.
    """
    owner = running_owner(run_dir)
    done, of = progress_of(run)
    best, metric = _best(run)
    return Overview(
        run=str(run_dir),
        kind=run.kind,
        state="running" if owner is not None else "complete" if is_complete(run) else "stopped",
        done=done,
        of=of,
        ranked=num_trainings(run, run.reranks[-1]) if run.reranks else None,
        best=best,
        metric=metric,
        begun=run.sessions[0]["time"],
        changed=(run_dir / LEDGER_NAME).stat().st_mtime,
        owner=str(owner or ""),
    )


def progress_of(run: Run) -> tuple[int, int]:
    """How far a run is, and how far it is to go: candidates, trainings of a study, or steps."""
    if run.training is not None:
        done = run.measurements[-1]["step"] if run.measurements else 0
        return done, run.training["num_steps"]
    if run.study is not None:
        return run.num_done, run.study["num_archs"] * run.study["num_seeds"] * len(SIDES[run.study["kind"]])
    return run.num_done, run.config["search"]["num_trials"]


def is_complete(run: Run) -> bool:
    """Whether nothing is left to do: every result is in, learnt from, and the finalists are ranked."""
    done, of = progress_of(run)
    if done < of or run.kind != "search":
        return done >= of
    settings: Mapping[str, Any] = run.config["search"]
    if len(run.updates) < of // settings["generation_size"]:
        return False  # too many had failed
    has_finalists = bool(settings.get("finalists")) and any(t.status == "completed" for t in run.trials)
    return not has_finalists or (bool(run.reranks) and finished_rerank(run) is run.reranks[-1])


def _best(run: Run) -> tuple[float | None, str]:
    if run.training is not None:
        if not run.measurements:
            return None, "AP"
        best = best_measurement(run.measurements)
        return main_score(best), main_metric(best)
    if run.study is not None:
        return None, ""  # the best of all trainings has the luckiest seed
    ranked = ranked_trials(run.trials)
    return (ranked[0].reward if ranked else None), run.config["search"]["reward_metric"]


def overview_table(found: list[Overview], *, title: str, width: int) -> Table:
    """A row for each run; without its age where there is little room.

    Args:
        found: the runs.
        title: above them.
        width: columns of the terminal.
    """
    has_ages = width >= _LEAST_WIDTH
    table = narrow_table(title)
    table.add_column("run", overflow="fold")
    for name in ("kind", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("done", "best", *(("age", "last line") if has_ages else ())):
        table.add_column(name, justify="right", no_wrap=True)
    now = time.time()
    for one in found:
        done = f"{one.done}/{one.of}" if one.kind else ""
        if one.ranked is not None and one.ranked[0] < one.ranked[1]:
            done += f" + {one.ranked[0]}/{one.ranked[1]}"
        best = "" if one.best is None else f"{one.metric} {one.best:.4f}"
        age = "" if one.begun is None else duration(now - one.begun)
        ages = (age, duration(now - one.changed)) if has_ages else ()
        name = os.path.basename(os.path.abspath(one.run))  # of ".", too
        table.add_row(name, one.kind, one.state, done, best, *ages)
    return table
