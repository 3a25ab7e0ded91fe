"""Training on a GPU with and without CUDA graphs, and what a failed capture leaves behind."""

from __future__ import annotations

import importlib.util
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from cuda_training import CUDA, losses_of, needs_cuda
from fake_cuda import Allocator, Streams
from recorded_graph import CallAgain, Sessions
from torch import Tensor

from spinesearch.data.open import ProxyData
from spinesearch.proxy_task import task as task_module
from spinesearch.proxy_task.task import ProxyTask
from spinesearch.space import R0_SP53, SPINENET_49
from spinesearch.training.step import train as train_module
from spinesearch.training.step.captured_step import CaptureInvalidated
from spinesearch.training.step.cuda_graph import CudaGraph, cuda_graphs, find_session
from spinesearch.training.targets.forms import PLAIN, step_forms


def test_only_cuda_has_graphs() -> None:
    assert find_session("auto", torch.device("cpu")) is None
    assert find_session("off", torch.device("cuda", 0)) is None
    assert find_session("auto", torch.device("cuda", 0)) is not None


@pytest.mark.slow
def test_a_failed_capture_is_another_training_of_the_same_candidate(
    data: ProxyData, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = replace(CUDA, device="cpu", num_steps=5)
    expected = ProxyTask(cpu, data).score(SPINENET_49, 0)

    class Refused(CallAgain):
        def capture(self, work: object) -> None:
            raise RuntimeError("no")

    for make, steps in ((CallAgain, [0, 1, 2, 3, 4]), (Refused, [0, 1, 2, 0, 1, 2, 3, 4])):
        sessions = Sessions(make)
        monkeypatch.setattr(task_module, "find_session", lambda *args, found=sessions: found)
        reported: list[int] = []
        task = ProxyTask(cpu, data)
        result = task.score(
            SPINENET_49, 0, on_step=lambda step, loss, reported=reported: reported.append(step)
        )
        assert (result, reported) == (expected, steps)  # times do not count in a comparison of results
        assert task.capturing.is_on == (make is CallAgain)


@pytest.mark.parametrize("case", ["good", "mistake", "invalid", "invalid at the end"])
def test_after_any_capture_allocator_and_generator_are_free(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    allocator = Allocator(monkeypatch)
    graph = CudaGraph((0, 7), 0)  # type: ignore[arg-type]
    fake = graph._graph
    outputs = torch.zeros(()), torch.ones(())

    def work() -> tuple[Tensor, Tensor]:
        fake.is_valid = not case.startswith("invalid")  # type: ignore[attr-defined]
        if case in ("mistake", "invalid"):
            raise KeyError(case)
        return outputs

    if case == "good":
        graph.capture(work)
        assert graph.replay() is outputs
        assert allocator.uses == 1
    else:
        # Whether CUDA itself broke it off is noted, for that may harm more than this capture.
        error = CaptureInvalidated if case.startswith("invalid") else KeyError
        with pytest.raises(error, match="previous error" if case == "invalid at the end" else case):
            graph.capture(work)
    assert not allocator.generator.is_capturing  # or it would refuse to draw from now on
    graph.reset()
    assert (allocator.underway, allocator.uses) == ([], 0)
    torch.cuda.empty_cache()


@pytest.mark.parametrize("is_lost", [False, True])
def test_graphs_of_a_training_are_reset_together_and_none_lives_beside_them(
    monkeypatch: pytest.MonkeyPatch, is_lost: bool
) -> None:
    """Resetting one frees the workspaces of all that were captured on its stream (pytorch#193402)."""
    allocator, streams = Allocator(monkeypatch), Streams(monkeypatch)
    device = torch.device("cuda", 0)
    outputs = torch.zeros(()), torch.ones(())
    for _ in range(2):
        with (
            pytest.raises(RuntimeError, match="device-side assert") if is_lost else nullcontext(),
            cuda_graphs(device) as new_graph,
        ):
            for _ in range(3):
                new_graph().capture(lambda: outputs)
            with (
                pytest.raises(RuntimeError, match="graphs of another training are alive"),
                cuda_graphs(device),
            ):
                pass
            assert allocator.uses == 3
            streams.is_lost = is_lost
        assert allocator.uses == 0
        streams.is_lost = False


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_a_graph_trains_as_eager_steps_do(data: ProxyData, optimizer: str, precision: str) -> None:
    """The same kernels on the same numbers, some of which add up by atomics, in another order every time.

    The first steps are eager in both, and what they differ by is what training amplifies from then on. A step
    that is replayed with the inputs or the rate of another differs by tens of per cent: the losses of
    successive batches do.
    """
    settings = replace(CUDA, optimizer=optimizer, precision=precision, stochastic_depth_rate=0.2)
    graph, eager = (losses_of(replace(settings, cuda_graph=value), data) for value in ("auto", "off"))
    assert graph == pytest.approx(eager, rel=0.02 if precision == "float32" else 0.05)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kernels", ["auto", "all"])
def test_fused_steps_train_as_plain_ones(data: ProxyData, kernels: str, precision: str) -> None:
    """Captured, to the tolerance of the test above: rounding differs, and training amplifies it."""
    if importlib.util.find_spec("triton") is not None:  # else they would be compared with themselves
        assert step_forms(kernels, torch.device("cuda", torch.cuda.current_device())) is not PLAIN
    found, plain = (
        losses_of(replace(CUDA, kernels=value, precision=precision), data) for value in (kernels, "off")
    )
    assert found == pytest.approx(plain, rel=0.02 if precision == "float32" else 0.05)


@pytest.mark.slow
def test_what_a_network_does_on_a_gpu_alone_scores_as_without(
    data: ProxyData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU: merged squeezes, expansion before upsampling, folded norms, in a lean step."""
    cpu = replace(CUDA, device="cpu", num_steps=3)
    plain, marked = (ProxyTask(cpu, data) for _ in range(2))
    expected = plain.score(SPINENET_49, 0)
    marked._is_for_gpu = True
    monkeypatch.setattr(train_module, "is_lean", lambda kernels, device: True)
    found = marked.score(SPINENET_49, 0)
    assert found.loss == pytest.approx(expected.loss, rel=5e-3)  # of the third step: rounding has grown
    assert found.ap == pytest.approx(expected.ap, abs=0.01)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("cuda_graph", ["auto", "off"])
def test_a_pack_on_the_device_trains_as_one_in_main_memory(data: ProxyData, cuda_graph: str) -> None:
    settings = replace(CUDA, cuda_graph=cuda_graph, precision="bfloat16")
    kept, loaded = (losses_of(replace(settings, pack_on_device=value), data) for value in ("auto", "off"))
    assert kept == pytest.approx(loaded, rel=0.05)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("pack_on_device", ["auto", "off"])
def test_a_measurement_between_captured_steps_changes_none(data: ProxyData, pack_on_device: str) -> None:
    """Evaluated while graphs are open, its batches by the same stream of copies."""
    settings = replace(CUDA, pack_on_device=pack_on_device)
    measured = losses_of(replace(settings, measure_at=(3, 7)), data)
    assert measured == pytest.approx(losses_of(settings, data), rel=0.02)


@pytest.mark.gpu
@needs_cuda
def test_a_share_of_a_gpu_is_kept_to(data: ProxyData) -> None:
    """A tensor that the device has room for and the share has not; the task scores as before."""
    device = torch.device("cuda", torch.cuda.current_device())
    try:
        task = ProxyTask(CUDA, data, gpu_share=0.5)
        _, total = torch.cuda.mem_get_info(device)
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(total * 6 // 10, dtype=torch.uint8, device=device)
        assert task.score(SPINENET_49, seed=0).device.startswith("cuda, ")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")  # PyTorch's own
@pytest.mark.parametrize("cuda_graph", ["auto", "off"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_a_step_does_not_make_the_processor_wait(data: ProxyData, optimizer: str, cuda_graph: str) -> None:
    """From when the first step's loss is read until the last's is; a wait would be an error of PyTorch's."""
    settings = replace(CUDA, optimizer=optimizer, cuda_graph=cuda_graph)
    losses: list[float] = []

    def on_step(step: int, loss: float) -> None:
        losses.append(loss)
        torch.cuda.set_sync_debug_mode("error" if step < settings.num_steps - 1 else "default")

    task = ProxyTask(settings, data)
    try:
        task.score(SPINENET_49, 0, on_step=on_step)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(losses) == settings.num_steps
    assert task.capturing.is_on == (cuda_graph == "auto")


@pytest.mark.gpu
@needs_cuda
def test_gpu_memory_is_flat_over_fifty_captures(data: ProxyData) -> None:
    task = ProxyTask(CUDA, data)
    allocated, reserved = [], []
    for trial in range(50):
        task.score(SPINENET_49 if trial % 2 else R0_SP53, seed=trial)
        allocated.append(torch.cuda.memory_allocated())
        torch.cuda.empty_cache()
        reserved.append(torch.cuda.memory_reserved())
    assert task.capturing.is_on
    assert allocated[4:] == allocated[4:5] * 46  # the first few make workspaces that stay
    assert reserved[4:] == reserved[4:5] * 46
