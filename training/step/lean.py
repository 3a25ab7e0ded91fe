"""What a step does to every layer, done to all of them at once: `LeanPass`.

A narrow SpineNet has some 170 layers, and to each a step of plain PyTorch launches a kernel that casts its
weights and one that counts its batch, of which a GPU sees little but the launch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from spinesearch.training.optim.optimizer import FlatOptimizer


def is_lean(fused: str, device: torch.device) -> bool:
    """Whether a training with this `Recipe.fused` is: launches take time worth saving on a GPU."""
    return fused != "off" and device.type == "cuda"


class LeanPass:
    """Opened around every forward pass of a training; nothing that is computed changes, to the last bit.

    In bfloat16 all kernels are cast together, as one tensor, and not one by one by autocast; their gradients
    then arrive in one piece too. Batches are counted by one operation for all normalisations.

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
        self._owners = [(m._parameters, name, p) for m in modules for name, p in m._parameters.items()]

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Within it a forward pass may be done, once."""
        cast = self._optimizer.cast_kernels(torch.bfloat16) if self._is_cast else {}
        owners = [owner for owner in self._owners if id(owner[2]) in cast]
        norms = [norm for norm in self._norms if norm.training and norm.num_batches_tracked is not None]
        counters = [counter for norm in norms if (counter := norm.num_batches_tracked) is not None]
        try:
            for parameters, name, parameter in owners:
                parameters[name] = cast[id(parameter)]  # type: ignore[assignment]
            for norm in norms:
                norm.num_batches_tracked = None
            yield
        finally:
            for parameters, name, parameter in owners:
                parameters[name] = parameter
            for norm, counter in zip(norms, counters, strict=True):
                norm.num_batches_tracked = counter
        torch._foreach_add_(counters, 1)
