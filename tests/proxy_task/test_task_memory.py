"""Failing candidates: reported, released, and the task usable as before; memory flat over many candidates."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from cuda_training import allocated_bytes
from long_suite import few_rows
from tiny_task import TINY_TASK
from torch import nn

from spinesearch.data.open import GeneratedDataSettings, ProxyData, open_data
from spinesearch.proxy_task import task as task_module
from spinesearch.proxy_task.task import ProxyTask
from spinesearch.search.scoring.scorer import Job, Score, run_job
from spinesearch.space import R0_SP53, SPINENET_49
from spinesearch.space.build import SpineNetSettings
from spinesearch.training.process.failures import DeviceLost, OutOfMemory
from spinesearch.training.step.divergence import TrainingDiverged

CONF = Path(__file__).parents[2] / "conf"
TINY = replace(TINY_TASK, batch_size=2)
ABSURD = 2**60  # bytes, an exabyte


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ProxyData:
    settings = GeneratedDataSettings(
        num_images=8, num_val_images=0, held_out_share=0.4, cache_dir=str(tmp_path_factory.mktemp("cache"))
    )
    return open_data(settings, image_size=128)


def absurd_tensor() -> None:
    torch.empty(ABSURD, dtype=torch.uint8)


def absurd_array() -> None:
    np.empty(ABSURD, np.uint8)


def as_cuda_says() -> None:
    raise torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total of 8.00."
    )


def mistake() -> None:
    raise KeyError("no such level")


FAILURES: dict[str, tuple[Callable[[], None], type[Exception], str]] = {
    "tensor": (absurd_tensor, OutOfMemory, "OutOfMemory: out of memory: .*can't allocate memory"),
    "array": (absurd_array, OutOfMemory, "OutOfMemory: out of memory: Unable to allocate 1.00 EiB"),
    "cuda": (
        as_cuda_says,
        OutOfMemory,
        "OutOfMemory: out of memory: CUDA out of memory. Tried to allocate 20",
    ),
    "mistake": (mistake, KeyError, "KeyError: 'no such level'"),
}


@contextmanager
def failing(fail: Callable[[], object], at_pass: int) -> Iterator[None]:
    """Candidates fail in this forward pass, counted from 1, with the network's outputs in memory."""
    build = task_module.build_model

    def sabotaged(*args: object, **kwargs: object) -> nn.Module:
        model: nn.Module = build(*args, **kwargs)  # type: ignore[arg-type]
        passes: list[int] = []

        def hook(module: nn.Module, inputs: object, output: object) -> None:
            passes.append(1)
            if len(passes) == at_pass:
                fail()

        model.register_forward_hook(hook)
        return model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task_module, "build_model", sabotaged)
        yield


def tensors_alive() -> list[torch.Tensor]:
    gc.collect()
    return [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]


def num_new(before: list[torch.Tensor]) -> int:
    """Tensors alive now that were not; what others left behind may go meanwhile, as at any collection."""
    known = {id(tensor) for tensor in before}
    return sum(id(tensor) not in known for tensor in tensors_alive())


# A candidate's forward passes are two steps, one batch to recalibrate batch normalisation, the evaluation.
@pytest.mark.parametrize(
    ("name", "at_pass", "num_steps"),
    few_rows([("tensor", 2, 1), ("tensor", 1, 0), ("array", 2, 1), ("cuda", 3, 2), ("mistake", 4, 2)], 1),
)
def test_a_failure_is_reported_at_once_and_nothing_of_it_stays(
    data: ProxyData, name: str, at_pass: int, num_steps: int
) -> None:
    fail, kind, reason = FAILURES[name]
    task = ProxyTask(TINY, data)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    before = tensors_alive()
    steps: list[int] = []
    with failing(fail, at_pass):
        with pytest.raises(kind) as caught:
            task.score(SPINENET_49, 0, on_step=lambda step, loss: steps.append(step))
        outcome = run_job(proxy_score_of(task), Job(trial=3, spec=SPINENET_49, seed=0), "worker")
    assert steps == list(range(num_steps))
    assert outcome.metrics is None
    assert re.match(reason, outcome.reason), outcome.reason
    assert "\n" not in outcome.reason
    assert caught.value is not None
    assert num_new(before) == 0  # although the error is still held
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def proxy_score_of(task: ProxyTask) -> Score:
    return lambda spec, seed: task.score(spec, seed).to_dict()


@pytest.mark.slow
def test_after_failures_a_candidate_scores_as_before(data: ProxyData) -> None:
    task = ProxyTask(TINY, data)
    expected = task.score(SPINENET_49, 0)
    for fail, kind, _ in FAILURES.values():
        with failing(fail, 2), pytest.raises(kind):
            task.score(R0_SP53, 1)
    diverging = ProxyTask(replace(TINY, optimizer="sgd", lr=1e30, num_steps=9), data)
    with pytest.raises(TrainingDiverged):
        diverging.score(R0_SP53, 1)
    assert task.score(SPINENET_49, 0) == expected


def candidates_in_turn(data: ProxyData, count: int) -> Iterator[int]:
    """Tensors alive after each of so many candidates, of which every third fails, each in another way."""
    task = ProxyTask(TINY, data)
    diverging = ProxyTask(replace(TINY, optimizer="sgd", lr=1e30, num_steps=9), data)
    score, diverge = proxy_score_of(task), proxy_score_of(diverging)
    failures = [fail for fail, _, _ in FAILURES.values()]
    rng = np.random.default_rng(0)
    space = SpineNetSettings(**yaml.safe_load((CONF / "space" / "spinenet.yaml").read_text())).build()
    for trial in range(count):
        spec = space.decode(space.sample(rng))
        job = Job(trial=trial, spec=spec, seed=trial)
        if trial % 3 < 2:
            assert run_job(score, job, "worker").metrics is not None
        elif trial % 2:
            assert run_job(diverge, job, "worker").reason.startswith("TrainingDiverged: ")
        else:
            with failing(failures[trial // 3 % len(failures)], at_pass=1 + trial % 4):
                assert run_job(score, job, "worker").metrics is None
        yield len(tensors_alive())


@pytest.mark.slow
def test_memory_is_flat_over_candidates(data: ProxyData) -> None:
    counts = list(candidates_in_turn(data, 7))
    assert counts == counts[:1] * 7


@pytest.mark.slow
def test_memory_is_flat_over_fifty_candidates(data: ProxyData) -> None:
    counts = list(candidates_in_turn(data, 50))
    assert counts == counts[:1] * 50


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_memory_is_flat_over_fifty_candidates(data: ProxyData) -> None:
    task = ProxyTask(replace(TINY, device="cuda"), data)
    score = proxy_score_of(task)
    allocated = []
    for trial in range(50):
        job = Job(trial=trial, spec=SPINENET_49 if trial % 2 else R0_SP53, seed=trial)
        if trial % 3:
            assert run_job(score, job, "worker").metrics is not None
        else:
            with failing(lambda: torch.empty(ABSURD, dtype=torch.uint8, device="cuda"), at_pass=2):
                assert "out of memory" in run_job(score, job, "worker").reason
        # One that failed before a capture leaves a workspace of cuBLAS, which resetting a graph frees.
        allocated.append(allocated_bytes())
    assert allocated[4:] == allocated[4:5] * 46  # the first few make what stays


def test_unused_memory_is_returned_after_each_candidate_where_a_gpu_is_shared(
    data: ProxyData, monkeypatch: pytest.MonkeyPatch
) -> None:
    returned: list[torch.device] = []
    monkeypatch.setattr(task_module, "return_unused", returned.append)
    monkeypatch.setattr(ProxyTask, "_train", lambda *args: None)
    ProxyTask(TINY, data).train(SPINENET_49, 0)
    assert not returned
    task = ProxyTask(TINY, data, gpu_share=0.5)
    for _ in range(2):
        task.train(SPINENET_49, 0)
    assert returned == [task.device] * 2


@pytest.mark.parametrize("gpu_share", [0.5, 1.0])
def test_a_device_that_is_lost_is_reported_as_that_where_it_is_shared_too(
    data: ProxyData, gpu_share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*args: object, **kwargs: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    task = ProxyTask(TINY, data, gpu_share=gpu_share)
    task.device = torch.device("cuda", 0)
    for name in ("synchronize", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lost)
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: nullcontext())
    monkeypatch.setattr(ProxyTask, "_train", lost)
    with pytest.raises(DeviceLost, match="device cuda:0 is lost: RuntimeError: CUDA error: an illegal"):
        task.train(SPINENET_49, 0)
