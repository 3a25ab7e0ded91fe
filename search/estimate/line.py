"""How long a search will take, in one line as it starts: `EstimateLine`. Nothing is measured for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from spinesearch.results.ledger.lines import Event
from spinesearch.results.ledger.run import Run
from spinesearch.results.tables import duration
from spinesearch.search.config.run_config import RunConfig
from spinesearch.search.estimate.estimate import Estimate
from spinesearch.search.estimate.pace import (
    LEAST_TIMED,
    Pace,
    conditions,
    earlier_runs,
    pace_of,
    step_seconds,
)
from spinesearch.search.estimate.search_estimate import search_estimate
from spinesearch.search.loop.observer import SearchObserver


class EstimateLine(SearchObserver):
    """Says it by what is on record of this run or of an earlier one like it, else after the first candidates.

    Args:
        config: of the search.
        run_dir: its folder; earlier runs lie beside it.
        note: receives the line.
        reranks: whether only the best are ranked again.
    """

    def __init__(
        self, config: RunConfig, run_dir: Path, note: Callable[[str], None], *, reranks: bool = False
    ) -> None:
        self._config, self._run_dir, self._note = config, run_dir, note
        self._reranks = reranks
        self._is_told = False

    def started(self, run: Run, num_trials: int) -> None:
        """Say it if something is on record."""
        pace = recorded_pace(self._run_dir, run)
        if pace is None:
            self._note(
                f"estimate: after the first {LEAST_TIMED} candidates, as no run like this is on record"
            )
        else:
            self._tell(run, pace)

    def recorded(self, event: Event, run: Run) -> None:
        """Say it once enough candidates of this run are trained."""
        if not self._is_told and event["event"] in ("result", "rung"):
            pace = pace_of(run.trials, f"by its first {LEAST_TIMED} candidates")
            if pace is not None:
                self._tell(run, pace)

    def _tell(self, run: Run, pace: Pace) -> None:
        self._is_told = True
        num_images = run.sessions[-1]["data"]["num_train_images"]
        estimate = search_estimate(
            self._config, pace, num_train_images=num_images, run=run, reranks=self._reranks
        )
        self._note(one_line(estimate, workers_here(self._config)))


def recorded_pace(run_dir: Path, run: Run) -> Pace | None:
    """The pace of a run, by its own candidates or by those of the newest run like it beside its folder."""
    if (own := pace_of(run.trials, "by its candidates so far")) is not None:
        return own
    for path, earlier in earlier_runs(run_dir.parent, conditions(run.sessions[-1])):
        if (pace := pace_of(earlier.trials, f"as in {path}")) is not None:
            return pace
    return None


def recorded_steps(run_dir: Path, run: Run) -> tuple[float, str] | None:
    """Seconds per step of a long training, and whether that is by itself or by the newest like it."""
    if (own := step_seconds(run)) is not None:
        return own, "as so far"
    for path, earlier in earlier_runs(run_dir.parent, conditions(run.sessions[-1])):
        if (found := step_seconds(earlier)) is not None:
            return found, f"as in {path}"
    return None


def one_line(estimate: Estimate, num_workers: int | None) -> str:
    """An estimate in a line: of one worker, and of all where their number is known."""
    hours = f"{duration(3600 * estimate.worker_hours)} of one worker ({estimate.pace})"
    if num_workers is None or num_workers == 1:
        return f"estimate: about {hours}"
    return f"estimate: about {duration(estimate.wall_s(num_workers))} on {num_workers} workers; {hours}"


def workers_here(config: RunConfig) -> int | None:
    """How many candidates are trained at a time; None if a cluster decides."""
    settings = config.search
    if settings.engine == "serial":
        return 1
    if settings.num_workers is not None:
        return settings.num_workers
    if not settings.trains_here:
        return None
    import torch

    if config.gpus_per_worker != 0 and torch.cuda.is_available():
        return max(1, int(torch.cuda.device_count() / (config.gpus_per_worker or 1.0)))
    return max(1, int((os.cpu_count() or 1) / settings.cpus_per_trial))
