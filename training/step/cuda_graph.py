"""CUDA graphs for `captured_step`: capture, replay, and the stream and the memory that they need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, partial

import torch

from spinesearch.training.step.captured_step import CaptureInvalidated, GraphSession, NewGraph, Outputs

_LIVE: set[torch.device] = set()  # whose side stream has graphs


class CudaGraph:
    """A `Graph` of the work that the current stream is given; not for the default stream.

    Args:
        pool: where the work's memory comes from, a handle of `torch.cuda.graph_pool_handle`.
        device: index of the device.
    """

    def __init__(self, pool: torch.cuda._POOL_HANDLE, device: int) -> None:
        self._pool = pool
        self._device = device
        self._graph = torch.cuda.CUDAGraph()
        self._outputs: Outputs | None = None

    def capture(self, work: Callable[[], Outputs]) -> None:
        """Record what `work` does.

        `torch.cuda.graph` is not used: after a failed capture it leaves its stream current, hides the error
        and leaves the allocator in a state in which `empty_cache` fails for the rest of the process.
        """
        torch.cuda.synchronize(self._device)
        torch.cuda.empty_cache()  # the graph's memory is apart, and cannot come from blocks that are cached
        try:
            # Other threads use CUDA meanwhile: the next batch is put into pinned memory.
            self._graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            self._outputs = work()
            self._graph.capture_end()
        except BaseException as error:
            if not self._abandoned() and isinstance(error, Exception):
                text = f"{type(error).__name__}: {' '.join(str(error).split())}"
                raise CaptureInvalidated(text) from error
            raise

    def replay(self) -> Outputs:
        """Do what was recorded, on the current stream."""
        assert self._outputs is not None
        self._graph.replay()
        return self._outputs

    def reset(self) -> None:
        """Return the memory to the allocator; the device must have finished the last replay.

        Not while other graphs of the same stream are still to be replayed: this frees the workspaces that
        cuBLAS has on it, theirs too (pytorch#193402).
        """
        self._outputs = None
        self._graph.reset()

    def _abandoned(self) -> bool:
        """End the capture; whether it was still valid."""
        is_valid = False
        with suppress(RuntimeError):  # ends the capture of the stream, and raises if it is invalid
            self._graph.capture_end()
            is_valid = True
        # For an invalid capture it stops there, and the allocator still counts the pool as in use.
        with suppress(
            RuntimeError, AttributeError
        ):  # where it did not stop, the allocator has no such capture
            torch._C._cuda_endAllocateToPool(self._device, self._pool)
            torch._C._cuda_releasePool(self._device, self._pool)
        if not is_valid:
            # Its generator would still take itself to be in a capture and refuse to draw outside of one.
            generator = torch.cuda.default_generators[self._device]
            generator.graphsafe_set_state(generator.clone_state())
        return is_valid


@contextmanager
def cuda_graphs(device: torch.device) -> Iterator[NewGraph]:
    """Makes graphs of work on this device, all of which goes to one side stream while this is open.

    They are reset together at its end, and no second one may be open beside it: see `CudaGraph.reset`.
    """
    if device in _LIVE:
        raise RuntimeError(f"graphs of another training are alive on the side stream of {device}")
    stream, outer = _side_stream(device), torch.cuda.current_stream(device)
    pool = torch.cuda.graph_pool_handle()
    graphs: list[CudaGraph] = []
    assert device.index is not None

    def new_graph() -> CudaGraph:
        graphs.append(CudaGraph(pool, device.index))
        return graphs[-1]

    _LIVE.add(device)
    stream.wait_stream(outer)
    try:
        with torch.cuda.stream(stream):
            yield new_graph
    finally:
        with ExitStack() as ending:  # what fails of it keeps nothing else from being done
            ending.callback(_LIVE.discard, device)
            for graph in reversed(graphs):
                ending.callback(graph.reset)
            stream.synchronize()
            outer.wait_stream(stream)


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for the process: cuBLAS keeps a workspace for every stream that it has been used on."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def find_session(cuda_graph: str, device: torch.device) -> GraphSession | None:
    """The graphs of a `ProxySettings.cuda_graph` on this device, None for eager steps."""
    return partial(cuda_graphs, device) if cuda_graph == "auto" and device.type == "cuda" else None
