"""What is done about a capture that fails."""

from __future__ import annotations

import logging
import weakref
from functools import partial

import pytest
import torch
from recorded_graph import CallAgain, Sessions
from small_training import CPU, SETTINGS, Cells, assert_same, run
from torch import Tensor, nn

from spinesearch.training.process.failures import OutOfMemory
from spinesearch.training.step.captured_step import CaptureInvalidated
from spinesearch.training.step.capturing import Capturing
from spinesearch.training.step.divergence import TrainingDiverged


class Failing(CallAgain):
    """A graph whose capture fails after the work has begun."""

    error: Exception = RuntimeError("CUDA error: operation not permitted\nwhen stream is capturing")

    def capture(self, work) -> None:
        work()
        raise self.error


class OutOfRoom(Failing):
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def candidate(models: list[weakref.ref[nn.Module]], session: object) -> tuple[list[float], dict[str, Tensor]]:
    torch.manual_seed(1)
    model = Cells()
    models.append(weakref.ref(model))
    return run(SETTINGS, session, model=model)


def test_after_a_failed_capture_all_train_eagerly_and_one_warning_says_why(caplog) -> None:
    sessions = Sessions(Failing)
    capturing = Capturing(CPU, sessions)
    models: list[weakref.ref[nn.Module]] = []
    with caplog.at_level(logging.WARNING):
        results = [capturing.run(partial(candidate, models)) for _ in range(3)]
    for result in results:
        assert_same(result, candidate(models, None))
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "proxy_task.cuda_graph: the training step could not be captured (RuntimeError: CUDA error: operation "
        "not permitted when stream is capturing); this candidate is started again"
    )
    assert not capturing.is_on
    assert (len(sessions.graphs), sessions.num_open) == (1, 0)
    assert len(models) == 1 + 3 + 3
    assert models[0]() is None  # of the attempt nothing is left


def test_a_capture_that_runs_out_of_memory_is_of_that_candidate_alone(caplog) -> None:
    sessions = Sessions(OutOfRoom)
    capturing = Capturing(CPU, sessions)
    models: list[weakref.ref[nn.Module]] = []
    for count in (1, 2):
        assert_same(capturing.run(partial(candidate, models)), candidate(models, None))
        assert len(sessions.graphs) == count
    assert capturing.is_on
    assert not caplog.records


class WithoutEngine(Failing):
    error = RuntimeError("GET was unable to find an engine to execute this computation")


def test_cudnn_without_an_engine_beside_graphs_is_memory_of_that_candidate_alone(caplog) -> None:
    """After the graphs are reset there is memory again, so that is no time to ask."""
    for make in (WithoutEngine, CallAgain):
        sessions = Sessions(make)
        capturing = Capturing(CPU, sessions)

        def attempt(session: object, sessions: Sessions = sessions) -> tuple[list[float], dict[str, Tensor]]:
            torch.manual_seed(1)
            model = Hungry(sessions, 1, WithoutEngine.error)
            return run(SETTINGS, session, boxes=[3, 1, 2, 5, 4, 12, 3, 9], model=model)

        assert_same(capturing.run(attempt), attempt(None))
        assert len(sessions.graphs) == 1
        assert capturing.is_on
    assert not caplog.records


class Invalidated(Failing):
    error = CaptureInvalidated("AcceleratorError: operation not permitted when stream is capturing")


@pytest.mark.parametrize(("make", "is_worn"), [(Invalidated, True), (Failing, False), (OutOfRoom, False)])
def test_a_process_whose_capture_cuda_broke_off_is_worn(make: type, is_worn: bool) -> None:
    capturing = Capturing(CPU, Sessions(make))
    assert not capturing.is_worn
    assert_same(capturing.run(partial(candidate, [])), candidate([], None))
    assert capturing.is_worn == is_worn


class Hungry(Cells):
    """Runs out of memory in a step of its own, eager or not, if its session has open graphs."""

    def __init__(self, sessions: Sessions, num_graphs: int, error: Exception = OutOfRoom.error) -> None:
        super().__init__()
        self.sessions, self.num_graphs, self.error = sessions, num_graphs, error

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        if self.sessions.num_open and len(self.sessions.made) >= self.num_graphs:
            raise self.error
        return super().forward(images)


@pytest.mark.parametrize("num_graphs", [0, 1])
def test_a_step_without_memory_beside_open_graphs_is_tried_without_them(num_graphs: int, caplog) -> None:
    """The eager step of a batch with more boxes than any before, when the graph of the others is open."""
    sessions = Sessions(CallAgain)
    capturing = Capturing(CPU, sessions)
    boxes = [3, 1, 2, 5, 4, 12, 3, 9]

    def attempt(session: object) -> tuple[list[float], dict[str, Tensor]]:
        torch.manual_seed(1)
        return run(SETTINGS, session, boxes=boxes, model=Hungry(sessions, num_graphs))

    if num_graphs:
        assert_same(capturing.run(attempt), attempt(None))
        assert len(sessions.graphs) == 1
    else:  # without a graph it is the candidate's own failure
        with pytest.raises(torch.OutOfMemoryError):
            capturing.run(attempt)
    assert capturing.is_on
    assert not caplog.records


def test_other_failures_pass_and_leave_capturing_on() -> None:
    for error in (TrainingDiverged(4), OutOfMemory("out of memory: all of it"), KeyError("level")):
        capturing = Capturing(CPU, Sessions())

        def attempt(session: object, error: Exception = error) -> None:
            raise error

        with pytest.raises(type(error)) as caught:
            capturing.run(attempt)
        assert caught.value is error
        assert capturing.is_on
