"""How fast the proxy task is here: one candidate's time, phase by phase, from its own training."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from spinesearch.data.open import ProxyData
from spinesearch.proxy_task.result import TaskResult
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.proxy_task.task import PHASES, ProxyTask
from spinesearch.space import ArchSpec
from spinesearch.training.process.machine import threads
from spinesearch.training.process.stopwatch import Phase, Stopwatch
from spinesearch.training.step.cuda_graph import find_session
from spinesearch.training.step.train import GRAPH_PHASES, STEP_PHASES

# Steps that are not counted: memory is taken, kernels are chosen and caches fill in them.
NUM_WARMUP_STEPS = 10
_TRAINING_PASSES = 3  # forward, and backward with respect to inputs and to weights
_FLOPS_PER_MULTIPLY_ADD = 2
_MATMUL_SIDES = {"cpu": 1024, "cuda": 8192}  # large enough that a larger one is no faster
_NUM_MATMULS = 20


class Spread(NamedTuple):
    """Of a number of durations, in seconds: the median, the 5th and the 95th percentile."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchResult:
    """One candidate's time on this machine.

    Attributes:
        phases: of an eager training step, by name, in order.
        step: of a whole eager training step.
        graph_step: of a step that is replayed as a CUDA graph, measured in a second training; None where the
            settings or the device have steps done eagerly.
        num_steps: how many were measured, of each kind.
        images_per_s: training images per second at the median of these, of the graph if there is one.
        batch_size: images per step.
        overhead: seconds of what is done once per candidate, by name, in order; ``graph capture`` is what
            the steps of the shorter training took beyond their median, in which their graphs were captured.
        full_steps: steps that the settings train a candidate for.
        candidate_seconds: of a whole candidate: what is done once, and ``full_steps`` median steps, with the
            graph if there is one.
        peak_memory: bytes at the worst moment, with the graph if there is one: on CUDA what torch's allocator
            held of the device, which decides how many candidates fit on it, else of the process.
        eager_peak_memory: the same of eager steps.
        multiply_adds: of one image through the detector.
        flops_per_s: floating-point operations of training per second: multiply-adds x 2 x 3.
        matmul_flops_per_s: of a large square product in the same dtype, on the same threads.
        device: ``cpu`` or ``cuda``.
        dtype: of the product, and of the forward pass.
    """

    phases: dict[str, Spread]
    step: Spread
    graph_step: Spread | None
    num_steps: int
    images_per_s: float
    batch_size: int
    overhead: dict[str, float]
    full_steps: int
    candidate_seconds: float
    peak_memory: int
    eager_peak_memory: int
    multiply_adds: int
    flops_per_s: float
    matmul_flops_per_s: float
    device: str
    dtype: str


def bench_proxy(
    settings: ProxySettings,
    data: ProxyData,
    spec: ArchSpec,
    *,
    num_steps: int,
    seed: int,
    num_warmup_steps: int = NUM_WARMUP_STEPS,
) -> BenchResult:
    """Train one candidate for a number of steps after warming up, evaluate it, and time each part.

    What is timed is `ProxyTask.score` itself. Where it captures its steps in a CUDA graph, whose parts cannot
    be timed, a training without a graph comes first, for the phases.

    Args:
        settings: of the proxy task; only their length is changed.
        data: what to train on.
        spec: the candidate.
        num_steps: steps to measure, at least 1.
        seed: of the training.
        num_warmup_steps: steps before these, which are not counted.

    Raises:
        TrainingDiverged: the candidate's loss stopped being finite.
    """
    short = replace(settings, num_steps=num_warmup_steps + num_steps, num_epochs=None, measure_at=())
    run = eager = _measured(replace(short, cuda_graph="off"), data, spec, seed)
    if find_session(settings.cuda_graph, eager.device) is not None:
        run = _measured(short, data, spec, seed)
    eager_steps = _steps(eager.phases, STEP_PHASES)[num_warmup_steps:]
    all_graph_steps = _steps(run.phases, GRAPH_PHASES).sum(axis=1)
    graph_steps = all_graph_steps[num_warmup_steps:]
    is_captured = len(graph_steps) == num_steps  # else they are eager by settings, or a capture failed
    totals = graph_steps if is_captured else eager_steps.sum(axis=1)
    median = float(np.median(totals))
    overhead = {phase.name: phase.seconds for phase in run.phases if phase.name in PHASES}
    if is_captured:
        overhead["graph capture"] = max(0.0, float((all_graph_steps - median).sum()))
    full_steps = settings.training_steps(len(data.train_index))
    images_per_s = settings.batch_size / median
    flops_per_image = run.result.num_multiply_adds * _FLOPS_PER_MULTIPLY_ADD * _TRAINING_PASSES
    dtype = torch.bfloat16 if settings.precision == "bfloat16" else torch.float32
    with threads(settings.num_threads):
        matmul_flops_per_s = matmul_rate(run.device, dtype)
    return BenchResult(
        phases={name: _spread(eager_steps[:, i]) for i, name in enumerate(STEP_PHASES)},
        step=_spread(eager_steps.sum(axis=1)),
        graph_step=_spread(totals) if is_captured else None,
        num_steps=len(totals),
        images_per_s=images_per_s,
        batch_size=settings.batch_size,
        overhead=overhead,
        full_steps=full_steps,
        candidate_seconds=sum(overhead.values()) + full_steps * median,
        peak_memory=run.peak_memory,
        eager_peak_memory=eager.peak_memory,
        multiply_adds=run.result.num_multiply_adds,
        flops_per_s=images_per_s * flops_per_image,
        matmul_flops_per_s=matmul_flops_per_s,
        device=run.device.type,
        dtype=str(dtype).removeprefix("torch."),
    )


class _Run(NamedTuple):
    """A candidate with all its laps."""

    result: TaskResult
    phases: list[Phase]
    peak_memory: int
    device: torch.device


def _measured(settings: ProxySettings, data: ProxyData, spec: ArchSpec, seed: int) -> _Run:
    task = ProxyTask(settings, data)
    if task.device.type == "cuda":
        torch.cuda.empty_cache()  # or what the run before has left counts
        torch.cuda.reset_peak_memory_stats(task.device)
    stopwatch = Stopwatch(task.device)
    result = task.score(spec, seed, lap=stopwatch)
    return _Run(result, stopwatch.phases(), _peak_memory(task.device), task.device)


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a large square matrix product: the median of twenty."""
    side = _MATMUL_SIDES[device.type]
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    stopwatch = Stopwatch(device)
    for i in range(2 * _NUM_MATMULS):  # the first half warms up
        torch.mm(a, b, out=out)
        stopwatch("warm-up" if i < _NUM_MATMULS else "product")
    seconds = [phase.seconds for phase in stopwatch.phases() if phase.name == "product"]
    return 2 * side**3 / float(np.median(seconds))


def _steps(phases: list[Phase], names: tuple[str, ...]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Seconds `[steps, phases]` of the steps that have exactly the phases of these names."""
    laps = [phase for phase in phases if phase.name not in PHASES]
    seconds = [
        [phase.seconds for phase in step]
        for step in (laps[i : i + len(names)] for i in range(0, len(laps), len(names)))
        if tuple(phase.name for phase in step) == names
    ]
    return np.array(seconds, dtype=np.float64).reshape(-1, len(names))


def _spread(seconds: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Spread:
    low, median, high = np.quantile(seconds, [0.05, 0.5, 0.95])
    return Spread(float(median), float(low), float(high))


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # bytes there, kilobytes elsewhere
