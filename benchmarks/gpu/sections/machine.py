"""The machine, and the rates that it reaches with products and copies of large tensors."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
from typing import Any

import torch
from check_parts import Emit, Part, table

from spinesearch.cli.proxy.bench import rate
from spinesearch.proxy_task.bench import matmul_rate
from spinesearch.search.environment import code_version, machine, versions
from spinesearch.training.process.stopwatch import Stopwatch

_NUM_COPIES = 10
_NVIDIA_SMI = ("driver_version", "power.limit", "clocks.max.sm", "clocks.max.mem", "mig.mode.current")


def run(quick: bool, emit: Emit) -> None:
    """Emit what the machine is, then what it reaches."""
    is_cuda = torch.cuda.is_available()
    facts = _facts()
    lines = table(("", ""), facts.items())
    emit(Part(title="", lines=lines, values={"machine": facts}))
    device = torch.device("cuda", torch.cuda.current_device()) if is_cuda else torch.device("cpu")
    rates = {"float32": matmul_rate(device, torch.float32)}
    num_bytes = 2**26
    if is_cuda:
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        rates["TF32"] = matmul_rate(device, torch.float32)
        torch.backends.cuda.matmul.fp32_precision = "ieee"
        rates["bfloat16"] = matmul_rate(device, torch.bfloat16)  # many processors have no instruction for it
        num_bytes = min(2**32, torch.cuda.get_device_properties(device).total_memory // 8)
    bytes_per_s = copy_rate(device, 2**26 if quick else num_bytes)
    rows = [(f"square matrix product, {name}", rate(value)) for name, value in rates.items()]
    rows.append(("copy in memory, bytes read and written", f"{bytes_per_s / 1e9:.0f} GB/s"))
    emit(
        Part(
            title="Measured rates",
            lines=table(("", "median"), rows),
            values={"matmul_flops_per_s": rates, "copy_bytes_per_s": bytes_per_s},
        )
    )


def _facts() -> dict[str, Any]:
    """By name, for people and for JSON."""
    facts: dict[str, Any] = {"machine": machine(), "versions": versions(), "sources": code_version().sources}
    if hasattr(os, "sysconf"):
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        facts["main memory"] = f"{memory / 2**30:.0f} GiB"
    if torch.cuda.is_available():
        device = torch.cuda.get_device_properties(torch.cuda.current_device())
        facts |= {
            "GPU": device.name,
            "GPU memory": f"{device.total_memory / 2**30:.1f} GiB",
            "compute capability": f"{device.major}.{device.minor}",
            "multiprocessors": device.multi_processor_count,
            "GPUs visible": torch.cuda.device_count(),
            "CUDA of torch": torch.version.cuda,
            "cuDNN": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        } | _nvidia_smi()
    return facts


def _nvidia_smi() -> dict[str, str]:
    """What the driver's tool says of the first GPU; nothing where the tool is missing or does not answer."""
    if shutil.which("nvidia-smi") is None:
        return {}
    command = ["nvidia-smi", f"--query-gpu={','.join(_NVIDIA_SMI)}", "--format=csv,noheader", "--id=0"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    values = [value.strip() for value in answer.stdout.partition("\n")[0].split(",")]
    return dict(zip(_NVIDIA_SMI, values, strict=True)) if len(values) == len(_NVIDIA_SMI) else {}


def copy_rate(device: torch.device, num_bytes: int) -> float:
    """Bytes per second, read and written, of copying a tensor of this size: the median of ten."""
    source = torch.zeros(num_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)  # the first one takes the memory
    stopwatch = Stopwatch(device)
    for _ in range(_NUM_COPIES):
        target.copy_(source)
        stopwatch("copy")
    return 2 * num_bytes / statistics.median(phase.seconds for phase in stopwatch.phases())
