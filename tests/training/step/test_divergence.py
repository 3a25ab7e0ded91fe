from __future__ import annotations

import pickle

import pytest
import torch

from spinesearch.training.step.divergence import LossWatch, TrainingDiverged

NAN, INF = float("nan"), float("inf")


def watch_all(
    pairs: list[tuple[float, float]], device: str
) -> tuple[list[tuple[int, float]], int | None, int]:
    """What on_step was called with, the step named as diverged, and after which step the error came."""
    reported: list[tuple[int, float]] = []
    watch = LossWatch(torch.device(device), lambda step, loss: reported.append((step, loss)))
    for step, pair in enumerate(pairs):
        loss, norm = (torch.tensor(value, device=device) for value in pair)
        try:
            watch.watch(step, loss, norm)
        except TrainingDiverged as error:
            return reported, error.step, step
    try:
        watch.finish()
    except TrainingDiverged as error:
        return reported, error.step, len(pairs)
    assert watch.losses == [loss for _, loss in reported]
    return reported, None, len(pairs)


@pytest.mark.parametrize("bad", [(NAN, 1.0), (1.0, NAN), (INF, 1.0), (1.0, -INF)])
@pytest.mark.parametrize("at", [0, 1, 4])
def test_the_first_bad_step_is_named_at_once(bad: tuple[float, float], at: int) -> None:
    pairs = [(0.5 * step, 1.0) for step in range(5)]
    pairs[at] = bad
    assert watch_all(pairs, "cpu") == ([(step, 0.5 * step) for step in range(at)], at, at)


def test_finite_values_pass_and_are_kept() -> None:
    pairs = [(0.5 * step, 1e30) for step in range(5)]
    assert watch_all(pairs, "cpu") == ([(step, 0.5 * step) for step in range(5)], None, 5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("at", [0, 1, 4])
def test_on_cuda_the_first_bad_step_is_named_one_step_late(at: int) -> None:
    pairs = [(0.5 * step, 1.0) for step in range(5)]
    pairs[at] = (1.0, NAN)
    assert watch_all(pairs, "cuda") == ([(step, 0.5 * step) for step in range(at)], at, at + 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda_a_queued_step_is_not_waited_for() -> None:
    watch = LossWatch(torch.device("cuda"))
    one = torch.ones((), device="cuda")
    watch.watch(0, one, one)
    torch.cuda.synchronize()
    torch.cuda._sleep(2_000_000_000)  # about a second of the device's time
    event = torch.cuda.Event()
    event.record()
    watch.watch(1, one, one)
    assert not event.query()  # step 1 is still behind the sleep
    assert watch.losses == [1.0]
    watch.finish()
    assert watch.losses == [1.0, 1.0]


def test_the_error_crosses_processes() -> None:
    error = pickle.loads(pickle.dumps(TrainingDiverged(7)))
    assert (error.step, str(error)) == (7, str(TrainingDiverged(7)))
