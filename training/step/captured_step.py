"""The training step as a CUDA graph: its kernels recorded once, then launched together at every step.

A narrow SpineNet's step is a long row of small kernels, launched one after the other by one thread. A replay
launches the same kernels on the same memory at once; so whatever changes between steps (images, boxes, random
numbers, learning rate) is written into tensors that stay where they are.

Shapes: B images, S side of the square, M boxes per image after padding.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from spinesearch.training.input.augment import Batch
from spinesearch.training.targets.matching import BACKGROUND

# Before a capture libraries must have chosen their kernels and taken their workspaces, and the optimiser made
# its state. The number is that of "Whole-network capture" in PyTorch's notes on CUDA semantics.
NUM_EAGER_STEPS = 3
MIN_ROWS = 8  # of boxes: fewer are padded to it, so that sparse images share one graph


class StepInputs(NamedTuple):
    """All that a training step reads besides the model, the optimiser and the anchors.

    Attributes:
        batch: uint8, on the device of the step.
        draws: `[4, B]`, of `augment.draw`.
    """

    batch: Batch
    draws: Tensor


Outputs = tuple[Tensor, Tensor]
"""Loss and gradient norm, scalars."""


class Graph(Protocol):
    """Work on tensors, recorded once and done at every replay."""

    def capture(self, work: Callable[[], Outputs]) -> None:
        """Record what `work` does; on CUDA nothing of it is done yet.

        Raises:
            CaptureInvalidated: in place of the error that broke it off, which is its cause.
        """

    def replay(self) -> Outputs:
        """Do it; returns the tensors that `work` returned, the same at every replay, so copy what is kept."""


NewGraph = Callable[[], Graph]
GraphSession = Callable[[], AbstractContextManager[NewGraph]]
"""Opened for one training: its graphs share memory, which is free when it is closed."""


class CaptureFailed(RuntimeError):  # noqa: N818 - it says what happened
    """The training step could not be captured; this is no fault of the candidate's.

    Attributes:
        is_out_of_memory: whether memory ran out; set where that can still be told, before graphs are reset.
    """

    is_out_of_memory = False


class CaptureInvalidated(RuntimeError):  # noqa: N818 - it says what happened
    """A capture was broken off by CUDA itself; the process's other captures may be harmed."""


@dataclass(slots=True)
class _Slot:
    """What steps of one shape have: inputs that keep their place in memory, and after a few steps a graph."""

    inputs: StepInputs
    num_eager: int = 0
    graph: Graph | None = None


class CapturedStep:
    """A training step that is done eagerly a few times, then captured, then replayed.

    The eager ones are steps of the training like any other. Boxes are padded to a power of two of rows, and
    each of these shapes has its own graph: matching takes time and memory in proportion to the rows, and
    with one graph every batch would pay for the image of the data set that has most.

    Args:
        work: the step itself, which changes model and optimiser in place.
        new_graph: makes a graph.
        device: of the step.
    """

    def __init__(
        self, work: Callable[[StepInputs], Outputs], new_graph: NewGraph, device: torch.device
    ) -> None:
        self._work = work
        self._new_graph = new_graph
        self._device = device
        self._slots: dict[int, _Slot] = {}

    def load(self, batch: Batch, draws: Tensor) -> int:
        """Write a step's inputs to where it reads them; returns the number of rows, for `run`.

        Args:
            batch: uint8, of as many images as every other batch; in pinned memory if the device is a GPU.
            draws: likewise.
        """
        num_rows = batch.boxes.shape[1]
        rows = padded_rows(num_rows)
        slot = self._slots.get(rows)
        if slot is None:
            slot = self._slots[rows] = _Slot(self._new_inputs(batch, draws, rows))
        # Padded on the device, since only whole tensors are copied there without waiting.
        boxes, labels = (x.to(self._device, non_blocking=True) for x in (batch.boxes, batch.labels))
        boxes = F.pad(boxes, (0, 0, 0, rows - num_rows))
        labels = F.pad(labels, (0, rows - num_rows), value=BACKGROUND)
        for static, new in zip(
            (*slot.inputs.batch[:4], slot.inputs.draws),
            (batch.images, batch.content, boxes, labels, draws),
            strict=True,
        ):
            static.copy_(new, non_blocking=True)
        return rows

    def run(self, rows: int) -> Outputs:
        """Do the step whose inputs `load` has written, of this many rows.

        Returns:
            Loss and gradient norm, in memory that the next step overwrites.

        Raises:
            CaptureFailed: this was to be the step that is captured.
        """
        slot = self._slots[rows]
        if slot.num_eager < NUM_EAGER_STEPS:
            slot.num_eager += 1
            return self._work(slot.inputs)
        if slot.graph is None:
            slot.graph = self._captured(slot.inputs)
        return slot.graph.replay()

    def _captured(self, inputs: StepInputs) -> Graph:
        graph = self._new_graph()
        try:
            graph.capture(partial(self._work, inputs))
        except Exception as error:
            text = " ".join(str(error).split())
            raise CaptureFailed(f"{type(error).__name__}: {text}"[:300]) from error
        return graph

    def _new_inputs(self, batch: Batch, draws: Tensor, rows: int) -> StepInputs:
        """Tensors on the device in which the boxes have this many rows; the large ones serve all slots."""
        shared = next((slot.inputs for slot in self._slots.values()), None)
        if shared is None:  # images keep their order in memory, or copying them would take a detour
            empty = [torch.empty_like(x, device=self._device) for x in (*batch[:4], draws)]
            shared = StepInputs(Batch(*empty[:4]), empty[4])
        num_images = batch.boxes.shape[0]
        boxes = shared.batch.boxes.new_empty(num_images, rows, 4)
        labels = shared.batch.labels.new_empty(num_images, rows)
        return shared._replace(batch=shared.batch._replace(boxes=boxes, labels=labels))


def padded_rows(num_rows: int) -> int:
    """The least power of two that is neither below this number nor below `MIN_ROWS`."""
    return max(MIN_ROWS, 1 << (num_rows - 1).bit_length()) if num_rows else MIN_ROWS
