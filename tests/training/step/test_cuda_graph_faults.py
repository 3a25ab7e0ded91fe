"""On a GPU: memory that ends, a capture that fails, and the stream that a session leaves."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from cuda_training import ABSURD, CUDA, allocated_bytes, losses_of, needs_cuda
from torch import Tensor

from spinesearch.data.open import ProxyData
from spinesearch.proxy_task import task as task_module
from spinesearch.proxy_task.task import ProxyTask
from spinesearch.space import R0_SP53, SPINENET_49
from spinesearch.training.process.failures import OutOfMemory
from spinesearch.training.step.cuda_graph import CudaGraph, cuda_graphs


@contextmanager
def out_of_memory(at_pass: int) -> Iterator[None]:
    """In this forward pass, counted from 1."""
    build = task_module.build_model

    def sabotaged(*args: object, **kwargs: object) -> torch.nn.Module:
        model = build(*args, **kwargs)  # type: ignore[arg-type]
        passes: list[int] = []

        def hook(module: object, inputs: object, output: object) -> None:
            passes.append(1)
            if len(passes) == at_pass:
                torch.empty(ABSURD, dtype=torch.uint8, device="cuda")

        model.register_forward_hook(hook)
        return model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task_module, "build_model", sabotaged)
        yield


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("at_pass", [2, 4])  # in an eager step, in the capture
def test_after_the_end_of_memory_a_candidate_scores_as_before(data: ProxyData, at_pass: int) -> None:
    task = ProxyTask(CUDA, data)
    before = task.score(SPINENET_49, seed=0)
    allocated = allocated_bytes()
    with out_of_memory(at_pass), pytest.raises(OutOfMemory):  # from the eager attempt after a capture's end
        task.score(R0_SP53, seed=0)
    assert allocated_bytes() == allocated
    assert task.capturing.is_on
    assert task.score(SPINENET_49, seed=0).loss == pytest.approx(before.loss, rel=0.02)


@pytest.mark.gpu
@needs_cuda
def test_after_a_failed_capture_the_process_continues_eagerly(
    data: ProxyData, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A real one: the work waits for the device, which ends the capture with an error of CUDA's."""
    eager = losses_of(replace(CUDA, cuda_graph="off"), data)
    capture = CudaGraph.capture

    def sabotaged(self: CudaGraph, work: object) -> None:
        def impatient() -> tuple[Tensor, Tensor]:
            outputs: tuple[Tensor, Tensor] = work()  # type: ignore[operator]
            float(outputs[0])
            return outputs

        capture(self, impatient)

    monkeypatch.setattr(CudaGraph, "capture", sabotaged)
    task = ProxyTask(CUDA, data)
    for _ in range(2):
        losses: list[float] = []
        task.score(SPINENET_49, 0, on_step=lambda step, loss, reported=losses: reported.append(loss))
        assert losses[-len(eager) :] == pytest.approx(eager, rel=0.02)
        torch.cuda.empty_cache()  # refused where the allocator takes a capture to be under way
    assert not task.capturing.is_on
    (record,) = (r for r in caplog.records if r.levelno == logging.WARNING)
    assert "could not be captured" in record.getMessage()


@pytest.mark.gpu
@needs_cuda
def test_a_session_leaves_the_stream_as_it_was() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    before = torch.cuda.current_stream()
    for _ in range(2):
        with cuda_graphs(device) as new_graph:
            side = torch.cuda.current_stream()
            assert side != before
            x = torch.ones(8, device=device)
            graph = new_graph()
            graph.capture(lambda x=x: (x.add_(1).sum(), x.sum()))
            assert x.tolist() == [1.0] * 8  # nothing has been done yet
            assert [float(graph.replay()[0]) for _ in range(3)] == [16.0, 24.0, 32.0]
        assert torch.cuda.current_stream() == before
