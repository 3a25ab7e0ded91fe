"""The memory of a GPU that processes share: this one's part of it, and whether others hold more than theirs.

Shares are the cluster's (`search.gpus_per_trial`); CUDA itself knows none. Everything here is about CUDA
devices, and does nothing, or says no, of any other.
"""

from __future__ import annotations

import torch

# Of a process besides its tensors: CUDA's context and the libraries' kernels. Own estimate, about twice what
# drivers are known to take.
CONTEXT_BYTES = 2**30
# With less than this a convolution may find no room for its workspace. Own estimate: cuDNN asks for some
# hundred megabytes.
LITTLE_BYTES = 2**30


def limit_share(device: torch.device, share: float) -> None:
    """Keep this process's tensors within a share of the device, so that its neighbours' have the rest.

    Args:
        device: any.
        share: in (0, 1], with what the process needs besides tensors; 1 sets no limit.
    """
    if device.type != "cuda" or share >= 1:
        return
    _, total = torch.cuda.mem_get_info(device)
    torch.cuda.set_per_process_memory_fraction(max(share / 2, share - CONTEXT_BYTES / total), device)


def usable_bytes(device: torch.device) -> int:
    """Memory of a GPU that this process may still take, in all, if its neighbours keep to their shares."""
    free, total = torch.cuda.mem_get_info(device)
    reserved = torch.cuda.memory_reserved(device)
    return min(free, int(total * torch.cuda.get_per_process_memory_fraction(device)) - reserved)


def return_unused(device: torch.device) -> None:
    """Give the memory that torch's allocator keeps for later to whoever shares the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def is_crowded(device: torch.device) -> bool:
    """Whether other processes hold more of the device than this one's share leaves them."""
    if device.type != "cuda":
        return False
    free, total = torch.cuda.mem_get_info(device)
    others = total - free - torch.cuda.memory_reserved(device)
    share = torch.cuda.get_per_process_memory_fraction(device)
    # Among the others' is this process's own context, and where it is one of a search, maybe the driver's;
    # below a whole device `limit_share` has left room for them.
    slack = 2 * CONTEXT_BYTES if share == 1 else CONTEXT_BYTES / 4
    return others > total * (1 - share) + slack


def has_little_left(device: torch.device) -> bool:
    """Whether this process could hardly get another gibibyte of the device.

    Not to be asked while graphs are open: what their pools have cached would count as free.
    """
    if device.type != "cuda":
        return False
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return usable_bytes(device) + cached < LITTLE_BYTES
