"""What a training step's time goes to, by kind of kernel: `times_by_kind`, of steps under a profiler."""

from __future__ import annotations

import re
from dataclasses import replace

import torch
from torch.profiler import ProfilerActivity, profile

from spinesearch.data.open import ProxyData
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.proxy_task.task import ProxyTask
from spinesearch.search.scoring.proxy_score import few_held_out
from spinesearch.space import ArchSpec

NUM_PROFILED = 5  # steps
_NUM_BEFORE = 3  # kernels are chosen and compiled
# By the names of kernels, on the CPU of operations; the first that is found decides. The plain loss and
# targets are many small ones, which cannot be told from others: the phases of the step say what they take.
_PRODUCTS = r"conv|cudnn|xmma|cutlass|gemm|gemv|wgrad|dgrad|nchwToNhwc|nhwcToNchw|aten::(add)?(mm|bmm)\b"
KINDS = (
    ("batch norm", r"batch_?norm|bn_(fw|bw)|welford"),
    ("loss kernels", r"_(focal|huber)_(forward|backward)"),
    ("targets kernels", r"_claim|_assign"),
    ("casts and copies", r"copy|_to_copy|cast|memcpy|memset"),
    (
        "convolutions and products",
        _PRODUCTS,
    ),
    ("ReLU", r"relu|threshold|clamp_min"),
    ("sums", r"CUDAFunctor_?add|AddFunctor|aten::add_?\b"),
    ("augmentation and indexing", r"grid_sampler|index|gather|scatter|upsample"),
)
REST = "rest"


def times_by_kind(settings: ProxySettings, data: ProxyData, spec: ArchSpec, seed: int) -> dict[str, float]:
    """Seconds a step by kind of kernel, on the device; on the CPU of operations themselves."""
    num_steps = _NUM_BEFORE + NUM_PROFILED + 1
    short = replace(settings, num_steps=num_steps, num_epochs=None, measure_at=(), cuda_graph="off")
    task = ProxyTask(short, data.scored_on(few_held_out(data.scored, settings.batch_size)))
    is_cuda = task.device.type == "cuda"
    profiler = profile(activities=[ProfilerActivity.CUDA if is_cuda else ProfilerActivity.CPU])

    def on_step(step: int, loss: float) -> None:
        if step == _NUM_BEFORE - 1:
            profiler.start()
        elif step == _NUM_BEFORE + NUM_PROFILED - 1:
            if is_cuda:
                torch.cuda.synchronize(task.device)
            profiler.stop()

    task.score(spec, seed, on_step=on_step)
    seconds = dict.fromkeys([*(name for name, _ in KINDS), REST], 0.0)
    for event in profiler.key_averages():
        if event.device_type.name == task.device.type.upper() and not event.is_user_annotation:
            spent = event.self_device_time_total if is_cuda else event.self_cpu_time_total
            seconds[kind_of(event.key)] += 1e-6 * spent / NUM_PROFILED
    return seconds


def kind_of(name: str) -> str:
    """The kind of a kernel or an operation of this name."""
    kinds = (kind for kind, pattern in KINDS if re.search(pattern, name, re.IGNORECASE))
    return next(kinds, REST)
