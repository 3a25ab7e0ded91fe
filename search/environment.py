"""Where a measurement was made: machine, versions, command. No figure is worth anything without."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine() -> str:
    """This machine in words: processor, how many of them this process may use, and its GPU if it has one."""
    import torch

    num_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [f"{_processor()}, {num_cpus} {'core' if num_cpus == 1 else 'cores'}"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def versions() -> str:
    """What was installed, as far as it decides scores and speed."""
    import torch

    from spinesearch import __version__

    return f"spinesearch {__version__}, torch {torch.__version__}, Python {platform.python_version()}"


def _processor() -> str:
    """The processor's name; the architecture's where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2] for line in lines if line.startswith("model name"))
    return " ".join(next(names, "").split()) or platform.processor() or platform.machine()
