"""Networks as programs of ``torch.export``: features, a detector's raw outputs, or a classifier's logits."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn


def write_program(twin: nn.Module, path: Path, size: tuple[int, int]) -> None:
    """Write a network as a ``.pt2`` file that ``torch.export.load(path).module()`` runs without its code.

    The batch is dynamic, height and width are fixed. A backbone's program returns features by level, 3 to 7,
    a detector's class logits [B, N, K] and box deltas [B, N, 4], a classifier's logits [B, K].

    Args:
        twin: from `plain_twin`.
        path: of the file.
        size: height and width of the images.
    """
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(twin, (torch.zeros(2, 3, *size),), dynamic_shapes=(batch,))
    with path.open("wb") as file:  # by name it would have to end in .pt2
        torch.export.save(program, file)
