"""What a step does to every layer, done to all of them at once: `LeanPass`.

A narrow SpineNet has some 170 layers, and to each a step of plain PyTorch launches a kernel that casts its
weights and one that counts its batch, of which a GPU sees little but the launch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from spinesearch.training.optim.optimizer import FlatOptimizer


def is_lean(fused: str, device: torch.device) -> bool:
    """Whether a training with this `Recipe.fused` is: launches take time worth saving on a GPU."""
    return fused != "off" and device.type == "cuda"


class LeanPass:
    """Opened around every forward pass of a training; nothing that is computed changes, to the last bit.

    In bfloat16 all kernels are cast together, as one tensor, and not one by one by autocast; their gradients
    then arrive in one piece too. Batches are counted by one operation for all normalisations, each of which
    is used once.

    Args:
        model: in training, outside of which nothing of it changes.
        optimizer: of its parameters.
        precision: of the passes, one of `spinesearch.training.recipe.PRECISIONS`.
    """

    def __init__(self, model: nn.Module, optimizer: FlatOptimizer, precision: str) -> None:
        self._optimizer = optimizer
        self._is_cast = precision == "bfloat16"
        modules = list(model.modules())
        self._norms = [m for m in modules if isinstance(m, nn.BatchNorm2d) and m.momentum is not None]
        # Of the layers whose kernel autocast would cast; what else there is is read as it is.
        layers = [m for m in modules if isinstance(m, nn.Conv2d | nn.Linear)]
        self._owners: list[tuple[dict[str, Any], Tensor]] = [
            (layer._parameters, layer.weight) for layer in layers
        ]

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Within it a forward pass may be done, once."""
        cast = self._optimizer.cast_kernels(torch.bfloat16) if self._is_cast else {}
        owners = [owner for owner in self._owners if id(owner[1]) in cast]
        norms = [norm for norm in self._norms if norm.training and norm.num_batches_tracked is not None]
        counters = [counter for norm in norms if (counter := norm.num_batches_tracked) is not None]
        try:
            for parameters, kernel in owners:
                parameters["weight"] = cast[id(kernel)]
            for norm in norms:
                norm.num_batches_tracked = None
            yield
        finally:
            for parameters, kernel in owners:
                parameters["weight"] = kernel
            for norm, counter in zip(norms, counters, strict=True):
                norm.num_batches_tracked = counter
        if counters:
            torch._foreach_add_(counters, 1)
