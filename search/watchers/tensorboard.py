"""A run in TensorBoard, scalars and the best architecture drawn, derived from the ledger."""

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
from spinesearch.search.scoring.reward import rung_reward, soft_cost_of
from spinesearch.space import ArchSpec, SearchSpace

FOLDER = "tensorboard"

_Entry = tuple[str, float | ArchSpec, int, float | None]  # tag, value or what to draw, step, time
_ANEW: _Entry = ("", 0.0, 0, None)  # before what replaces all that was written

_log = logging.getLogger(__name__)


def tensorboard_observers(
    run_dir: Path, note: Callable[[str], None], *, space: SearchSpace
) -> list[SearchObserver]:
    """The observer of a run's folder in a list, which is empty where TensorBoard is not installed.

    Args:
        run_dir: the run's folder.
        note: called with one line if the list is empty.
        space: the run's.
    """
    try:
        import tensorboard  # noqa: F401 - a thread imports what takes long of it
    except ImportError:
        note("TensorBoard is not installed, so no scalars are written; pip install tensorboard adds them")
        return []
    return [TensorBoardObserver(run_dir, space=space)]


class TensorBoardObserver(SearchObserver):
    """Writes ``search/*`` and ``proxy/seconds`` per finished candidate and ``controller/*`` per update.

    With rungs ``search/reward_at_100_steps`` is that of one, and ``search/best`` that of whole trainings.
    The step of ``search/reward`` and ``proxy/seconds`` is the trial's number, that of ``search/best`` and of
    its picture, ``search/best_architecture``, the number of candidates done. When a run is continued
    everything is rewritten from the ledger, so that nothing stands twice, with one picture; a thread does so,
    as it takes seconds after thousands of candidates.

    Args:
        run_dir: the run's folder; the events go into its subfolder ``tensorboard``.
        space: the run's; None draws nothing.
    """

    def __init__(self, run_dir: Path, *, space: SearchSpace | None = None) -> None:
        self._space = space
        self._folder = run_dir / FOLDER
        self._entries: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._best = -float("inf")
        self._num_done = 0

    def started(self, run: Run, num_trials: int) -> None:
        """Write what has happened so far."""
        self._thread = threading.Thread(target=self._work, name="tensorboard", daemon=True)
        self._thread.start()
        self._rewrite(run)

    def _rewrite(self, run: Run) -> None:
        self._entries.put(_ANEW)
        self._best, self._num_done = -float("inf"), 0
        for trial in run.trials:
            for number in range(len(trial.rungs)):
                self._write_rung(trial, run, number)
        best = None
        for trial in sorted(run.trials, key=lambda trial: trial.time):
            if trial.is_done and self._write_result(trial):
                best = trial, self._num_done
        if best is not None:  # earlier ones would take time to draw
            self._draw(*best)
        for update in run.updates:
            self._write_update(update)

    def recorded(self, event: Event, run: Run) -> None:
        """Scalars of a candidate or of an update: loss, entropy and whatever else the controller logs."""
        if event["event"] == "rung":
            self._write_rung(run.trials[event["trial"]], run)
        elif event["event"] == "result" and event.get("side") != FINALISTS:
            trial = run.trials[event["trial"]]
            if self._write_result(trial):
                self._draw(trial, self._num_done)
        elif event["event"] == "update":
            self._write_update(run.updates[event["update"]])
        elif event["event"] == "reopen":  # what was written of these trials no longer holds
            self._rewrite(run)

    def ended(self) -> None:
        """Write what is left, and close."""
        self._entries.put(None)
        if self._thread is not None:
            self._thread.join()

    def _write_result(self, trial: Trial) -> bool:
        """Write a result; whether it is better than all before."""
        self._num_done += 1
        is_best = False
        if trial.reward is not None:
            self._write("search/reward", trial.reward, trial.trial, trial.time)
        if trial.status == "completed" and trial.reward is not None:
            is_best = not trial.is_stopped and trial.reward > self._best
            self._best = trial.reward if is_best else self._best
            self._write("proxy/seconds", trial.seconds, trial.trial, trial.time)
        if self._best > -float("inf"):
            self._write("search/best", self._best, self._num_done, trial.time)
        return is_best

    def _draw(self, trial: Trial, step: int) -> None:
        if self._space is None:
            return
        spec = self._space.decode(trial.tokens).renamed(f"trial {trial.trial}, reward {trial.reward:.4f}")
        self._entries.put(("search/best_architecture", spec, step, trial.time))

    def _write_rung(self, trial: Trial, run: Run, number: int = -1) -> None:
        part, settings = trial.rungs[number], run.config["search"]
        value = rung_reward(
            part,
            metric=settings["reward_metric"],
            soft_cost=soft_cost_of(settings.get("cost_target"), settings.get("cost_weight", 0.0)),
        )
        self._write(f"search/reward_at_{part.num_steps}_steps", value, trial.trial, part.time)

    def _write_update(self, update: Update) -> None:
        for name, value in update.stats.items():
            if value is not None:
                self._write(f"controller/{name}", value, update.update, None)

    def _write(self, tag: str, value: float, step: int, walltime: float | None) -> None:
        self._entries.put((tag, value, step, walltime))

    def _work(self) -> None:
        """Write what there is until the end; a full disk must not end a search, which needs none of it."""
        try:
            import numpy as np
            from torch.utils.tensorboard import SummaryWriter

            from spinesearch.results.drawing.architecture import draw_architecture
            from spinesearch.results.drawing.pixels import draw_pixels

            writer: Any = None
            while (entry := self._entries.get()) is not None:
                if entry is _ANEW:
                    if writer is not None:
                        writer.close()
                    shutil.rmtree(self._folder, ignore_errors=True)
                    writer = SummaryWriter(str(self._folder), flush_secs=10)
                    continue
                tag, value, step, walltime = entry
                if isinstance(value, ArchSpec):
                    image = np.asarray(draw_pixels(draw_architecture(value, theme="light")))
                    writer.add_image(tag, image, step, walltime=walltime, dataformats="HWC")
                else:
                    writer.add_scalar(tag, value, step, walltime=walltime)
            writer.close()
        except OSError as error:
            _log.warning("TensorBoard scalars are no longer written: %s", error)
