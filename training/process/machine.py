"""The machine and the process a training runs in: device, threads, memory."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def find_device(name: str, setting: str = "proxy_task.device") -> torch.device:
    """The device that a setting names: "auto" is the current CUDA device where there is one.

    Raises:
        ValueError: CUDA is requested and torch sees none.
    """
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise ValueError(f"{setting}: is cuda but torch sees no CUDA device; set it to auto or cpu")
    if name == "cpu" or not has_cuda:
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def fix_precision(device: torch.device) -> str:
    """Set how float32 is computed on a GPU, for the whole process; returns where and how, for the record.

    Convolutions in TF32 and matrix products in full, as PyTorch has it unless somebody says otherwise: scores
    must not depend on an environment variable or on what else the process has done.
    """
    if device.type != "cuda":
        return device.type
    torch.backends.cudnn.conv.fp32_precision = "tf32"  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    return f"{device.type}, convolutions in TF32"


@cache
def keep_freed_memory() -> None:
    """Have glibc reuse the blocks it frees instead of returning them to the kernel.

    This changes the whole process, for everything that runs in it and until it ends: memory that any part of
    it frees mostly stays with it. Only the first call in a process does anything.

    A training step frees and takes the same few hundred megabytes again; faulting them in again, page by
    page, was measured at a tenth of the step. Other C libraries are left unchanged.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_MMAP_THRESHOLD, 2**25)  # the largest that glibc takes


@contextmanager
def threads(num_threads: int) -> Iterator[None]:
    """Within it torch uses this many threads on the CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
