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
from spinesearch.training.step.captured_step import Capturing
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


def test_other_failures_pass_and_leave_capturing_on() -> None:
    for error in (TrainingDiverged(4), OutOfMemory("out of memory: all of it"), KeyError("level")):
        capturing = Capturing(CPU, Sessions())

        def attempt(session: object, error: Exception = error) -> None:
            raise error

        with pytest.raises(type(error)) as caught:
            capturing.run(attempt)
        assert caught.value is error
        assert capturing.is_on
