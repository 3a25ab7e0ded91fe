"""A run as TensorBoard scalars, derived from the ledger."""

from __future__ import annotations

import logging
import queue
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spinesearch.results.ledger.lines import Event
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import FINALISTS, Trial, Update
from spinesearch.search.loop.observer import SearchObserver

FOLDER = "tensorboard"

_Scalar = tuple[str, float, int, float | None]  # tag, value, step, time
_ANEW: _Scalar = ("", 0.0, 0, None)  # before what replaces all that was written

_log = logging.getLogger(__name__)


def tensorboard_observers(run_dir: Path, note: Callable[[str], None]) -> list[SearchObserver]:
    """The observer of a run's folder in a list, which is empty where TensorBoard is not installed.

    Args:
        run_dir: the run's folder.
        note: called with one line if the list is empty.
    """
    try:
        import tensorboard  # noqa: F401 - a thread imports what takes long of it
    except ImportError:
        note("TensorBoard is not installed, so no scalars are written; pip install tensorboard adds them")
        return []
    return [TensorBoardObserver(run_dir)]


class TensorBoardObserver(SearchObserver):
    """Writes ``search/*`` and ``proxy/seconds`` per finished candidate and ``controller/*`` per update.

    With rungs ``search/reward_at_100_steps`` is that of one, and ``search/best`` that of whole trainings.
    The step of ``search/reward`` and ``proxy/seconds`` is the trial's number, that of ``search/best`` the
    number of candidates done. When a run is continued everything is rewritten from the ledger, so that
    nothing stands twice; a thread does so, as it takes seconds after thousands of candidates.

    Args:
        run_dir: the run's folder; the events go into its subfolder ``tensorboard``.
    """

    def __init__(self, run_dir: Path) -> None:
        self._folder = run_dir / FOLDER
        self._scalars: queue.SimpleQueue[_Scalar | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._best = -float("inf")
        self._num_done = 0

    def started(self, run: Run, num_trials: int) -> None:
        """Write what has happened so far."""
        self._thread = threading.Thread(target=self._work, name="tensorboard", daemon=True)
        self._thread.start()
        self._rewrite(run)

    def _rewrite(self, run: Run) -> None:
        self._scalars.put(_ANEW)
        self._best, self._num_done = -float("inf"), 0
        for trial in run.trials:
            for number in range(len(trial.rungs)):
                self._write_rung(trial, run, number)
        for trial in sorted(run.trials, key=lambda trial: trial.time):
            if trial.is_done:
                self._write_result(trial)
        for update in run.updates:
            self._write_update(update)

    def recorded(self, event: Event, run: Run) -> None:
        """Scalars of a candidate or of an update: loss, entropy and whatever else the controller logs."""
        if event["event"] == "rung":
            self._write_rung(run.trials[event["trial"]], run)
        elif event["event"] == "result" and event.get("side") != FINALISTS:
            self._write_result(run.trials[event["trial"]])
        elif event["event"] == "update":
            self._write_update(run.updates[event["update"]])
        elif event["event"] == "reopen":  # what was written of these trials no longer holds
            self._rewrite(run)

    def ended(self) -> None:
        """Write what is left, and close."""
        self._scalars.put(None)
        if self._thread is not None:
            self._thread.join()

    def _write_result(self, trial: Trial) -> None:
        self._num_done += 1
        if trial.reward is not None:
            self._write("search/reward", trial.reward, trial.trial, trial.time)
        if trial.status == "completed" and trial.reward is not None:
            if not trial.is_stopped:
                self._best = max(self._best, trial.reward)
            self._write("proxy/seconds", trial.seconds, trial.trial, trial.time)
        if self._best > -float("inf"):
            self._write("search/best", self._best, self._num_done, trial.time)

    def _write_rung(self, trial: Trial, run: Run, number: int = -1) -> None:
        part = trial.rungs[number]
        value = part.metrics[run.config["search"]["reward_metric"]]
        self._write(f"search/reward_at_{part.num_steps}_steps", value, trial.trial, part.time)

    def _write_update(self, update: Update) -> None:
        for name, value in update.stats.items():
            if value is not None:
                self._write(f"controller/{name}", value, update.update, None)

    def _write(self, tag: str, value: float, step: int, walltime: float | None) -> None:
        self._scalars.put((tag, value, step, walltime))

    def _work(self) -> None:
        """Write what there is until the end; a full disk must not end a search, which needs none of it."""
        try:
            from torch.utils.tensorboard import SummaryWriter

            writer: Any = None
            while (scalar := self._scalars.get()) is not None:
                if scalar is _ANEW:
                    if writer is not None:
                        writer.close()
                    shutil.rmtree(self._folder, ignore_errors=True)
                    writer = SummaryWriter(str(self._folder), flush_secs=10)
                    continue
                tag, value, step, walltime = scalar
                writer.add_scalar(tag, value, step, walltime=walltime)
            writer.close()
        except OSError as error:
            _log.warning("TensorBoard scalars are no longer written: %s", error)
