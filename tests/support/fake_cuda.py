"""CUDA graphs and their allocator without CUDA: as much of their states as a failed capture concerns."""

from __future__ import annotations

import contextlib

import pytest
import torch

from spinesearch.training.step import cuda_graph


class Allocator:
    """As much of CUDA's as a capture concerns: pools, and the captures that it takes to be under way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.underway: list[object] = []
        self.uses = 0
        self.generator = FakeGenerator()
        monkeypatch.setattr(torch.cuda, "default_generators", (self.generator,))
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: None)
        monkeypatch.setattr(torch.cuda, "empty_cache", self.empty_cache)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: FakeCudaGraph(self))
        monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", self.end, raising=False)
        monkeypatch.setattr(torch._C, "_cuda_releasePool", self.release, raising=False)

    def begin(self, pool: object) -> None:
        self.underway.append(pool)
        self.uses += 1

    def end(self, device: int, pool: object) -> None:
        if pool not in self.underway:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.underway.remove(pool)

    def release(self, device: int, pool: object) -> None:
        self.uses -= 1

    def empty_cache(self) -> None:
        if self.underway:
            raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")


class Memory:
    """A device's memory, in bytes, as torch tells of it; all of this process's is allocated at first."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *, total: int, reserved: int = 0, others: int = 0
    ) -> None:
        self.total, self.reserved, self.others, self.allocated = total, reserved, others, reserved
        self.fraction = 1.0
        self.emptied = 0
        for name in ("mem_get_info", "empty_cache"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: None)
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device=None: self.reserved)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device=None: self.allocated)
        monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda device=None: self.fraction)
        monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", self.limit)

    def mem_get_info(self, device: object = None) -> tuple[int, int]:
        return self.total - self.reserved - self.others, self.total

    def limit(self, fraction: float, device: object) -> None:
        self.fraction = fraction

    def empty_cache(self) -> None:
        self.emptied += 1


class Streams:
    """Streams that do nothing: as much as opening and closing a session of graphs asks for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: self)
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 7))
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
        monkeypatch.setattr(cuda_graph, "_side_stream", lambda device: self)
        self.is_lost = False

    def wait_stream(self, other: object) -> None:
        pass

    def synchronize(self) -> None:
        if self.is_lost:
            raise RuntimeError("CUDA error: device-side assert triggered")


class FakeGenerator:
    """As of torch 2.9: whether it is in a capture is in its state, and not in a copy of that."""

    def __init__(self) -> None:
        self.is_capturing = False

    def clone_state(self) -> FakeGenerator:
        return FakeGenerator()

    def graphsafe_set_state(self, state: FakeGenerator) -> None:
        self.is_capturing = state.is_capturing


class FakeCudaGraph:
    """In the order of ATen's CUDAGraph.cpp: an invalid capture ends before the allocator hears of it."""

    def __init__(self, allocator: Allocator) -> None:
        self.allocator = allocator
        self.is_valid = True
        self.is_capturing = self.has_pool = False

    def capture_begin(self, pool: object, capture_error_mode: str) -> None:
        assert capture_error_mode == "thread_local"
        self.pool, self.is_capturing = pool, True
        self.allocator.generator.is_capturing = True
        self.allocator.begin(pool)

    def capture_end(self) -> None:
        if not (self.is_capturing and self.is_valid):
            self.is_capturing = False
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        self.is_capturing = False
        self.allocator.end(0, self.pool)
        self.allocator.generator.is_capturing = False
        self.has_pool = True

    def replay(self) -> None:
        assert self.has_pool

    def reset(self) -> None:
        if self.has_pool:
            self.allocator.release(0, self.pool)
            self.has_pool = False
