"""A run in TensorBoard, from its ledger: as it goes (`TensorBoardObserver`), or at once (`rebuild`)."""

from __future__ import annotations

import logging
import queue
import shutil
import threading
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from spinesearch.results.ledger.lines import Event
from spinesearch.results.ledger.run import Run
from spinesearch.search.loop.observer import SearchObserver
from spinesearch.search.watchers.entries import Entry, RunEntries
from spinesearch.search.watchers.summary_writer import open_summary_writer
from spinesearch.space import ArchSpec, SearchSpace

FOLDER = "tensorboard"

_ANEW = Entry("", 0.0)  # before what replaces all that was written

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


def rebuild(run: Run, folder: Path, *, space: SearchSpace, top: int) -> None:
    """Write all of a run as it stands in its ledger, in place of what TensorBoard has of it in a folder.

    Args:
        run: a search.
        folder: of the event files.
        space: the run's.
        top: how many of the best are drawn, beside what a search itself draws.

    Raises:
        OSError: they cannot be written.
    """
    entries = RunEntries(space)
    _write(chain([_ANEW], entries.anew(run), entries.ranking(run, top)), folder)


class TensorBoardObserver(SearchObserver):
    """Writes the `RunEntries` of a run as it goes.

    When a run is continued everything is rewritten from the ledger, so that nothing stands twice; a thread
    does so, as it takes seconds after thousands of candidates.

    Args:
        run_dir: the run's folder; the events go into its subfolder ``tensorboard``.
        space: the run's; None draws nothing.
    """

    def __init__(self, run_dir: Path, *, space: SearchSpace | None = None) -> None:
        self._run_entries = RunEntries(space)
        self._folder = run_dir / FOLDER
        self._entries: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def started(self, run: Run, num_trials: int) -> None:
        """Write what has happened so far."""
        self._thread = threading.Thread(target=self._work, name="tensorboard", daemon=True)
        self._thread.start()
        self._put(chain([_ANEW], self._run_entries.anew(run)))

    def recorded(self, event: Event, run: Run) -> None:
        """Scalars of a candidate or of an update: loss, entropy and whatever else the controller logs."""
        if event["event"] == "reopen":  # what was written of these trials no longer holds
            self._put(chain([_ANEW], self._run_entries.anew(run)))
        else:
            self._put(self._run_entries.recorded(event, run))

    def ended(self) -> None:
        """Write what is left, and close."""
        self._entries.put(None)
        if self._thread is not None:
            self._thread.join()

    def _put(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._entries.put(entry)

    def _work(self) -> None:
        """Write what there is until the end; a full disk must not end a search, which needs none of it."""
        try:
            _write(iter(self._entries.get, None), self._folder)
        except OSError as error:
            _log.warning("TensorBoard scalars are no longer written: %s", error)


def _write(entries: Iterable[Entry], folder: Path) -> None:
    """Write entries, the first of which is `_ANEW`, as they come."""
    import numpy as np
    from torch.utils.tensorboard.summary import hparams

    from spinesearch.results.drawing.architecture import draw_architecture
    from spinesearch.results.drawing.pixels import draw_pixels

    writer: Any = None
    for entry in entries:
        tag, value, step, walltime = entry
        if entry is _ANEW:
            if writer is not None:
                writer.close()
            shutil.rmtree(folder, ignore_errors=True)
            writer = open_summary_writer(folder)
        elif isinstance(value, ArchSpec):
            image = np.asarray(draw_pixels(draw_architecture(value, theme="light")))
            writer.add_image(tag, image, step, walltime=walltime, dataformats="HWC")
        elif isinstance(value, float | int):
            writer.add_scalar(tag, value, step, walltime=walltime)
        else:
            named = {tag: 0.0}  # of which only the name is written
            for summary in hparams(dict(value), named):  # type: ignore[no-untyped-call]
                writer.file_writer.add_summary(summary)
    writer.close()
