"""The processes that train one network together: `ProcessGroup`, of one process or of several."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

# How long processes wait for one another; own: the first packs the data meanwhile, which may take hours. NCCL
# would wait ten minutes. Whoever started them, torchrun or Ray, ends the others where one dies.
PATIENCE = timedelta(hours=6)


def backend(*, has_gpus: bool) -> str:
    """What the processes exchange by, for `torch.distributed`: tensors on GPUs by NCCL, all else by gloo.

    So that a GPU's queue is not emptied at every step to ask whether any process is to stop.
    """
    return "cpu:gloo,cuda:nccl" if has_gpus else "gloo"


class ProcessGroup:
    """This process among those that train together; of one process alone nothing is ever sent.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
    """

    def __init__(self) -> None:
        is_several = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if is_several else 0
        self.size = dist.get_world_size() if is_several else 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def add(self, tensors: list[Tensor]) -> None:
        """Replace tensors of one dtype and device by their sums over all processes, in one exchange."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, part in zip(
            tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True
        ):
            tensor.copy_(part.view_as(tensor))

    def gathered(self, value: T) -> list[T]:
        """Every process's value, by rank, on every process."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def any(self, flag: bool) -> bool:
        """Whether it is true on any process; the same on all."""
        return any(self.gathered(flag)) if self.size > 1 else flag

    def from_first(self, value: T) -> T:
        """The first process's value, on every process."""
        if self.size == 1:
            return value
        values: list[T] = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]
