"""Graphs on the CPU that do at a replay what a CUDA graph would: the recorded operations, on the same memory.

Python does not run at a replay. What it decided at capture (a number, a branch, a random draw of its own)
stays as it was, so that a step whose rate or augmentation is a Python number trains differently here, as it
would on a GPU. What CUDA refuses in a capture is refused here: to read a value, to copy a list to the device,
shapes that depend on values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Outputs = tuple[Tensor, Tensor]

# By name, whatever the overload.
REFUSED = ("_local_scalar_dense", "lift_fresh", "nonzero", "masked_select", "is_nonzero", "equal", "unique")


class NotCapturable(RuntimeError):  # noqa: N818 - it says what happened
    """The operation would end a capture on CUDA."""


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Any]]] = []
        self.before: dict[int, tuple[Tensor, Tensor]] = {}  # by storage: a view of all of it, and its copy
        self.made: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        indices = tree_leaves(args[1:]) if name.startswith("index") else []
        if name in REFUSED or any(isinstance(x, Tensor) and x.dtype == torch.bool for x in indices):
            raise NotCapturable(f"aten.{name} makes the processor wait")
        if any(isinstance(leaf, torch.Generator) for leaf in tree_leaves((args, kwargs))):
            raise NotCapturable(f"aten.{name} draws from a generator of its own")
        if func._schema.is_mutable or "batch_norm" in name:  # whose schema keeps its statistics quiet
            for leaf in tree_leaves((args, kwargs)):
                if isinstance(leaf, Tensor):
                    self._keep(leaf)
        out = func(*args, **kwargs)
        outs = tree_leaves(out)
        # A view of what was there before is not made here.
        self.made |= _storages(outs) - _storages(tree_leaves((args, kwargs))) - set(self.before)
        self.calls.append((func, args, kwargs, outs))
        return out

    def _keep(self, x: Tensor) -> None:
        key = x.untyped_storage().data_ptr()
        if key not in self.before and key not in self.made:
            whole = torch.empty(0, dtype=torch.uint8).set_(x.untyped_storage())
            self.before[key] = (whole, whole.clone())

    def undo(self) -> None:
        for whole, copy in self.before.values():
            whole.copy_(copy)


def _storages(leaves: list[Any]) -> set[int]:
    return {leaf.untyped_storage().data_ptr() for leaf in leaves if isinstance(leaf, Tensor)}


class RecordedGraph:
    """A `Graph` of the operations that PyTorch's dispatcher saw."""

    def __init__(self) -> None:
        self._calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Any]]] = []
        self._outputs: Outputs | None = None

    def capture(self, work: Callable[[], Outputs]) -> None:
        """Record; what was written is put back, the random state too, as if nothing had been done."""
        state = torch.get_rng_state()
        with _Recorder() as recorder:
            self._outputs = work()
        recorder.undo()
        torch.set_rng_state(state)
        self._calls = recorder.calls

    @torch.no_grad()
    def replay(self) -> Outputs:
        """The operations once more; what they make goes to where the first results lay."""
        assert self._outputs is not None
        for func, args, kwargs, old in self._calls:
            new = tree_leaves(func(*args, **kwargs))
            for a, b in zip(old, new, strict=True):
                is_same = not isinstance(a, Tensor) or a.data_ptr() == b.data_ptr()
                if not is_same:  # neither a view nor written in place
                    torch.ops.aten.copy_(a.detach(), b)
        return self._outputs

    def reset(self) -> None:
        self._calls, self._outputs = [], None


class CallAgain:
    """The plainest stand-in: calls the work at each replay, and puts what it returns to one place."""

    def __init__(self) -> None:
        self.outputs: Outputs | None = None

    def capture(self, work: Callable[[], Outputs]) -> None:
        self.work = work

    def replay(self) -> Outputs:
        new = self.work()
        if self.outputs is None:
            self.outputs = new
        else:
            for old, value in zip(self.outputs, new, strict=True):
                old.copy_(value)
        return self.outputs

    def reset(self) -> None:
        self.__dict__.clear()


class Sessions:
    """A `GraphSession`, with the graphs that it made."""

    def __init__(self, make: Callable[[], Any] = RecordedGraph) -> None:
        self.graphs: list[Any] = []
        self.made: list[Any] = []  # of the session that is open
        self.num_open = 0
        self._make = make

    @contextmanager
    def __call__(self) -> Iterator[Callable[[], Any]]:
        graphs = self.made = list[Any]()

        def new_graph() -> Any:
            graphs.append(self._make())
            return graphs[-1]

        self.num_open += 1
        try:
            yield new_graph
        finally:
            self.num_open -= 1
            self.graphs += graphs
            for graph in graphs:
                graph.reset()
