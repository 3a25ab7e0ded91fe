import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from spinesearch.training.process.machine import fix_precision


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc is Linux's")
def test_the_allocator_is_set_once_per_process() -> None:
    code = """
from types import SimpleNamespace
from spinesearch.training.process import machine
calls = []
machine.ctypes = SimpleNamespace(CDLL=lambda name: SimpleNamespace(mallopt=lambda *a: calls.append(a)))
machine.keep_freed_memory()
machine.keep_freed_memory()
print(len(calls))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "2"  # the two options, each once


@pytest.fixture
def backends() -> Iterator[list[Any]]:
    """Of convolutions and of products, set to what nobody wants; as they were afterwards."""
    found = [torch.backends.cudnn.conv, torch.backends.cuda.matmul]
    before = [backend.fp32_precision for backend in found]
    for backend, wrong in zip(found, ("ieee", "tf32"), strict=True):
        backend.fp32_precision = wrong
    yield found
    for backend, value in zip(found, before, strict=True):
        backend.fp32_precision = value


def test_float32_is_computed_as_the_record_says(backends: list[Any]) -> None:
    """Whatever the process, or a variable of its environment, had set before."""
    assert fix_precision(torch.device("cpu")) == "cpu"
    assert [backend.fp32_precision for backend in backends] == ["ieee", "tf32"]
    assert fix_precision(torch.device("cuda", 0)) == "cuda, convolutions in TF32"
    assert [backend.fp32_precision for backend in backends] == ["tf32", "ieee"]
