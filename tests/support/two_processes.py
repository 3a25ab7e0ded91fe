"""What each of two processes does that train together, started by `torch.multiprocessing`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed as dist
from tiny_training import open_tiny, settings, train_in
from torch import nn

from spinesearch.training.run.long_training import Stopped
from spinesearch.training.run.sync_norm import synchronize_norms

TOGETHER: dict[str, object] = {"stochastic_depth_rate": 0.0, "lr": 0.001}


def join(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=2)


def train_together(
    rank: int, folder: Path, cache_dir: Path, stop_at: int | None, changes: Mapping[str, object] = TOGETHER
) -> None:
    """Train to the end, or until both are to stop; the first writes the network to ``state.pt``."""
    join(rank, folder)
    try:
        _, state = train_in(
            folder / "run",
            open_tiny(cache_dir),
            settings(**changes),
            stop_at=stop_at,
            prepare=synchronize_norms,
        )
    except Stopped:
        return
    finally:
        dist.destroy_process_group()
    torch.save(state, folder / f"state-{rank}.pt")


def normalize_together(rank: int, folder: Path, x: torch.Tensor) -> None:
    """One pass of a normalisation over two processes' halves of a batch, forward and backward."""
    join(rank, folder)
    norm = nn.BatchNorm2d(x.shape[1], momentum=0.5)
    with torch.no_grad():
        norm.weight.copy_(torch.arange(1.0, x.shape[1] + 1))
    model = nn.Sequential(norm)
    synchronize_norms(model)
    mine = x[rank::2].clone().requires_grad_()
    out = model(mine)
    (out * out.detach().sin()).sum().backward()
    found = [out.detach(), mine.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]
    torch.save(found, folder / f"norm-{rank}.pt")
    dist.destroy_process_group()
