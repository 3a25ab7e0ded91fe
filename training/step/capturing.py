"""What is done about a training step that cannot be captured: `Capturing`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch

from spinesearch.training.process.failures import DeviceLost, is_out_of_memory, released
from spinesearch.training.step.captured_step import (
    CaptureFailed,
    CaptureInvalidated,
    Graph,
    GraphSession,
    NewGraph,
)

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Capturing:
    """Whether training steps are captured: until one could not be.

    Args:
        device: of the training.
        session: opens a training's graphs; None for none at all.

    Attributes:
        is_worn: whether CUDA has broken a capture off, so that later candidates are better trained by another
            process.
    """

    def __init__(self, device: torch.device, session: GraphSession | None) -> None:
        self._device = device
        self._session = session
        self.is_worn = False

    @property
    def is_on(self) -> bool:
        """Whether the next training is going to capture its steps."""
        return self._session is not None

    def run(self, attempt: Callable[[GraphSession | None], T]) -> T:
        """What `attempt` returns, called with the session and, if a capture fails, again with None.

        A capture that ran out of memory, or a step beside open graphs, concerns that candidate alone; after
        any other failure nothing is captured any longer, which is logged as a warning once.
        """
        if self._session is None:
            return attempt(None)
        try:
            return attempt(partial(_guarded, self._session, self._device))
        except CaptureFailed as error:
            reason = str(error)
            concerns_all = not error.is_out_of_memory
            self.is_worn |= isinstance(error.__cause__, CaptureInvalidated)
            outcome = released(error, self._device)
        if isinstance(outcome, DeviceLost):
            raise outcome
        if concerns_all:
            self._session = None
            _log.warning(
                "proxy_task.cuda_graph: the training step could not be captured (%s); this candidate is "
                "started again, and it and all later ones are trained without a graph; cuda_graph=off skips "
                "the attempt",
                reason,
            )
        return attempt(None)


@contextmanager
def _guarded(session: GraphSession, device: torch.device) -> Iterator[NewGraph]:
    """The same session, in which memory that runs out while graphs hold some of it is a failed capture."""
    graphs: list[Graph] = []
    with session() as new_graph:

        def counted() -> Graph:
            graphs.append(new_graph())
            return graphs[-1]

        try:
            yield counted
        except CaptureFailed as error:
            error.is_out_of_memory = is_out_of_memory(error, device, beside_graphs=True)
            raise
        except Exception as error:
            if not (graphs and is_out_of_memory(error, device, beside_graphs=True)):
                raise
            failed = CaptureFailed("out of memory beside open graphs")
            failed.is_out_of_memory = True
            raise failed from error
