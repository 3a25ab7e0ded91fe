"""TensorBoard's writer of event files, without the tracebacks of its thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any


def open_summary_writer(folder: Path, *, purge_step: int | None = None) -> Any:
    """A `torch.utils.tensorboard.SummaryWriter` of a folder.

    It writes in a thread of its own. What fails there, as on a full disk, is raised by its next call here;
    Python would print the thread's traceback too, which nobody can do anything about.

    Args:
        folder: of the event files; made if there is none.
        purge_step: as `SummaryWriter` has it.

    Raises:
        ImportError: TensorBoard is not installed.
        OSError: the folder cannot be written.
    """
    from torch.utils.tensorboard import SummaryWriter

    if not isinstance(threading.excepthook, _WritersAside):
        threading.excepthook = _WritersAside(threading.excepthook)
    return SummaryWriter(str(folder), purge_step=purge_step, flush_secs=10)


class _WritersAside:
    """A `threading.excepthook` that passes on all but what TensorBoard's threads could not write."""

    def __init__(self, others: Callable[[threading.ExceptHookArgs], object]) -> None:
        self._others = others

    def __call__(self, args: threading.ExceptHookArgs) -> None:
        is_writers = type(args.thread).__module__.startswith("tensorboard.")
        if not (is_writers and isinstance(args.exc_value, OSError)):
            self._others(args)
