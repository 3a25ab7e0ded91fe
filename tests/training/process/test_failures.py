from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from fake_cuda import Memory
from long_suite import few
from torch import nn

from spinesearch.training.process.device_memory import CONTEXT_BYTES, limit_share
from spinesearch.training.process.failures import (
    DeviceCrowded,
    DeviceLost,
    OutOfMemory,
    is_out_of_memory,
    released,
)

CPU = torch.device("cpu")
ABSURD = 2**60  # bytes, an exabyte


def run(candidate: Callable[[], None]) -> None:
    """As `ProxyTask.score` does it."""
    try:
        candidate()
    except Exception as error:
        raise released(error, CPU) from None


def absurd_tensor() -> None:
    torch.empty(ABSURD, dtype=torch.uint8)


def absurd_array() -> None:
    np.empty(ABSURD, np.uint8)


def from_cuda() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has " + "x" * 900)


def from_triton() -> None:
    raise RuntimeError("Triton Error [CUDA]: out of memory")


def from_cublas() -> None:
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


@pytest.mark.parametrize("fail", [absurd_tensor, absurd_array, from_cuda, from_cublas, from_triton])
def test_every_end_of_memory_is_reported_in_one_line(fail) -> None:
    with pytest.raises(OutOfMemory, match=r"^out of memory: ") as caught:
        run(fail)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) <= 300
    with pytest.raises((RuntimeError, MemoryError)) as original:
        fail()
    assert is_out_of_memory(original.value, CPU)
    assert " ".join(str(original.value).split())[:100] in text


def test_an_error_raised_from_the_end_of_memory_is_that() -> None:
    error = ValueError("layer 3 failed")
    error.__cause__ = MemoryError()
    assert is_out_of_memory(error, CPU)
    error.__cause__ = KeyError()
    assert not is_out_of_memory(error, CPU)


@pytest.mark.parametrize("error", [ValueError("no memory of it"), RuntimeError("size mismatch"), KeyError(3)])
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    assert not is_out_of_memory(error, CPU)

    def fail_deep_inside() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        run(fail_deep_inside)
    assert caught.value is error
    (note,) = error.__notes__  # the way to the mistake is still reported
    assert "in fail_deep_inside" in note
    assert "raise error" in note


def candidate(fail, models: list[weakref.ref[nn.Module]]) -> None:
    """A model, its optimiser and its activations, in a cycle with a hook, that fails in the second step."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3))
    models.append(weakref.ref(model))
    optimizer = torch.optim.AdamW(model.parameters())
    steps: list[torch.Tensor] = []

    def hook(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        if len(steps) == 1:
            try:
                fail()
            except MemoryError as error:  # as libraries do
                raise RuntimeError("can't allocate memory for what was asked") from error

    model[2].register_forward_hook(hook)
    for _ in range(2):
        loss = model(torch.rand(2, 3, 16, 16)).square().mean()
        steps.append(loss)
        loss.backward()
        optimizer.step()


def diverge() -> None:
    raise ValueError("diverged")


def tensors_alive() -> int:
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


@pytest.mark.parametrize("fail", few([absurd_tensor, absurd_array, from_cuda, diverge], 1))
def test_nothing_of_a_failed_candidate_stays_though_its_error_does(fail) -> None:
    models: list[weakref.ref[nn.Module]] = []
    errors: list[BaseException] = []
    gc.collect()
    before = tensors_alive()
    for _ in range(3):
        with pytest.raises((OutOfMemory, ValueError)) as caught:
            run(lambda: candidate(fail, models))
        errors.append(caught.value)
    assert [model() for model in models] == [None, None, None]
    assert tensors_alive() == before
    assert len(errors) == 3


def test_without_it_the_error_holds_the_model() -> None:
    """What the test above would miss if it could not fail."""
    models: list[weakref.ref[nn.Module]] = []
    with pytest.raises(ValueError, match="diverged") as caught:
        candidate(diverge, models)
    gc.collect()
    assert models[0]() is not None
    del caught
    gc.collect()
    assert models[0]() is None


def test_a_device_that_is_lost_ends_the_process(monkeypatch) -> None:
    def synchronize(device: torch.device) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    outcome = released(ValueError("bad\nindex"), torch.device("cuda", 0))
    assert isinstance(outcome, DeviceLost)
    assert not isinstance(outcome, Exception)  # or it would be taken for the candidate's failure
    assert str(outcome) == "device cuda:0 is lost: ValueError: bad index"
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    error = ValueError("bad index")
    assert released(error, torch.device("cuda", 0)) is error


CUDA = torch.device("cuda", 0)
GIB = 2**30


@pytest.mark.parametrize(
    ("share", "others", "is_theirs"),
    [
        (1.0, 2, False),  # nobody but contexts: this process's own, and the driver's
        (1.0, 30, True),
        (0.5, 41, False),  # a neighbour within its share: the candidate is too large for its own
        (0.5, 42, True),
        (0.25, 61, False),
        (0.25, 62, True),
    ],
)
def test_memory_that_neighbours_hold_beyond_their_share_is_no_failure_of_the_candidate(
    monkeypatch: pytest.MonkeyPatch, share: float, others: int, is_theirs: bool
) -> None:
    memory = Memory(monkeypatch, total=80 * GIB, reserved=15 * GIB, others=others * GIB)
    limit_share(CUDA, share)
    outcome = released(torch.OutOfMemoryError("CUDA out of memory."), CUDA)
    assert memory.emptied == 1
    if is_theirs:
        assert isinstance(outcome, DeviceCrowded)
        assert not isinstance(outcome, Exception)  # or it would be taken for the candidate's failure
        assert str(outcome) == "device cuda:0 is filled by other processes: CUDA out of memory."
    else:
        assert isinstance(outcome, OutOfMemory)


@pytest.mark.parametrize(("share", "limit"), [(1.0, 80), (0.5, 39), (0.25, 19), (0.02, 0.8)])
def test_a_share_bounds_the_process_s_tensors(
    monkeypatch: pytest.MonkeyPatch, share: float, limit: float
) -> None:
    memory = Memory(monkeypatch, total=80 * GIB)
    limit_share(CUDA, share)
    assert 80 * memory.fraction == pytest.approx(limit)
    limit_share(CPU, share)
    assert CONTEXT_BYTES == GIB


@pytest.mark.parametrize(
    "text",
    [
        "GET was unable to find an engine to execute this computation",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "FIND was",
    ],
)
@pytest.mark.parametrize("free", [0.5, 20])
def test_a_library_without_room_is_out_of_memory_where_little_is_left(
    monkeypatch: pytest.MonkeyPatch, text: str, free: float
) -> None:
    Memory(monkeypatch, total=80 * GIB, reserved=int((79.5 - free) * GIB), others=GIB // 2)
    error = RuntimeError(text)
    is_it = text != "FIND was" and free == 0.5
    assert is_out_of_memory(error, CUDA) == is_it
    assert not is_out_of_memory(error, CPU)
    assert isinstance(released(error, CUDA), OutOfMemory) == is_it


def test_memory_within_the_limit_counts_and_not_what_the_device_has(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(monkeypatch, total=80 * GIB, reserved=39 * GIB - 1)
    error = RuntimeError("GET was unable to find an engine to execute this computation")
    assert not is_out_of_memory(error, CUDA)
    limit_share(CUDA, 0.5)
    assert is_out_of_memory(error, CUDA)
    memory.allocated -= 2 * GIB  # cached blocks are free for what is to come
    assert not is_out_of_memory(error, CUDA)
