"""Short trainings on a GPU: settings and losses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_task import TINY_TASK

from spinesearch.data.open import ProxyData
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.proxy_task.task import ProxyTask
from spinesearch.space import SPINENET_49

CUDA = replace(TINY_TASK, num_steps=10, warmup_steps=4, scale_jitter=(0.8, 1.2), device="cuda")
ABSURD = 2**60  # bytes, an exabyte

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def allocated_bytes() -> int:
    """Memory of tensors, without the workspaces of cuBLAS that torch keeps or frees for each stream."""
    torch._C._cuda_clearCublasWorkspaces()
    return torch.cuda.memory_allocated()


def losses_of(settings: ProxySettings, data: ProxyData, seed: int = 0) -> list[float]:
    losses: list[float] = []
    task = ProxyTask(settings, data)
    task.score(SPINENET_49, seed, on_step=lambda step, loss: losses.append(loss))
    assert len(losses) == settings.num_steps  # no capture failed, or it would have started again
    assert task.capturing.is_on == (settings.cuda_graph == "auto")
    return losses
