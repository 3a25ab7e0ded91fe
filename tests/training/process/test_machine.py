import subprocess
import sys

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


def test_float32_is_computed_as_the_record_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the process, or a variable of its environment, had set before."""
    convolutions, products = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    for backend, before in ((convolutions, "ieee"), (products, "tf32")):
        monkeypatch.setattr(backend, "fp32_precision", before)
    assert fix_precision(torch.device("cpu")) == "cpu"
    assert (convolutions.fp32_precision, products.fp32_precision) == ("ieee", "tf32")
    assert fix_precision(torch.device("cuda", 0)) == "cuda, convolutions in TF32"
    assert (convolutions.fp32_precision, products.fp32_precision) == ("tf32", "ieee")
