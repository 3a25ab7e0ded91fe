"""The processes of a training that ``torchrun`` started, or this one alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spinesearch.training.process.group import ProcessGroup


def is_one_of_several() -> bool:
    """Whether torchrun started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first() -> bool:
    """Whether torchrun started this process as the first, or did not start it."""
    return os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def joined_group(device: str) -> Iterator[ProcessGroup]:
    """The group of this process, joined by the variables that torchrun sets; left at the end.

    Args:
        device: a setting's: each process on CUDA has a GPU of its own.

    Raises:
        ValueError: more processes were started on this machine than it has GPUs.
    """
    from spinesearch.training.process.group import PATIENCE, ProcessGroup, backend

    if not is_one_of_several():
        yield ProcessGroup()
        return
    import torch
    import torch.distributed as dist

    is_cuda = device != "cpu" and torch.cuda.is_available()
    if is_cuda:
        number, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if number >= count:
            raise ValueError(
                f"--nproc-per-node: {os.environ['LOCAL_WORLD_SIZE']} processes need as many GPUs, and this "
                f"machine has {count}; start fewer, or train on the CPU with train.device=cpu"
            )
        torch.cuda.set_device(number)
    dist.init_process_group(backend(has_gpus=is_cuda), timeout=PATIENCE)
    try:
        yield ProcessGroup()
    finally:
        dist.destroy_process_group()
