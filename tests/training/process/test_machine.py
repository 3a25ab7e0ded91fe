import subprocess
import sys

import pytest


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
