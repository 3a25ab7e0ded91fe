"""A training between two of its steps, as it goes on from there: `TrainingState`."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn

from spinesearch.training.optim.optimizer import FlatOptimizer


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingState:
    """All that the steps to come depend on, besides recipe, anchors and the batches themselves.

    Attributes:
        step: number of steps taken.
        model: its state dict: weights, and statistics of batch normalisation.
        optimizer: `FlatOptimizer.state_dict`.
        augmentation: state of the generator that decides the augmentation.
        random: states of torch's global generators, which stochastic depth draws from: the processor's and,
            of a training on CUDA, the device's.
        losses: of the steps taken.
        aps: what was measured before the last of them, by the number of steps: `training.measure.curve`.
        average: moving average of the weights, of a training that has one; else empty.
    """

    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    augmentation: Tensor
    random: list[Tensor]
    losses: list[float]
    aps: dict[int, float] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: nn.Module,
        optimizer: FlatOptimizer,
        augmentation: torch.Generator,
        losses: list[float],
        device: torch.device,
    ) -> TrainingState:
        """The state of a training on ``device``; nothing of it changes when the training goes on."""
        random = [torch.get_rng_state()]
        if device.type == "cuda":
            random.append(torch.cuda.get_rng_state(device))
        return cls(
            step=len(losses),
            model={name: tensor.detach().clone() for name, tensor in model.state_dict().items()},
            optimizer=optimizer.state_dict(),
            augmentation=augmentation.get_state(),
            random=random,
            losses=list(losses),
        )

    def restore(
        self, model: nn.Module, optimizer: FlatOptimizer, augmentation: torch.Generator, device: torch.device
    ) -> None:
        """Bring a training of the same model and recipe to this state.

        Args:
            model: in place, as its parameters are views of the optimiser's.
            optimizer: of this model.
            augmentation: the generator that decides the augmentation.
            device: of the training; not necessarily the one of the state.
        """
        model.load_state_dict(self.model)
        optimizer.load_state_dict(self.optimizer)
        augmentation.set_state(self.augmentation)
        torch.set_rng_state(self.random[0])
        if device.type == "cuda" and len(self.random) > 1:
            torch.cuda.set_rng_state(self.random[1], device)

    def to_bytes(self) -> bytes:
        """The content of a file."""
        file = io.BytesIO()
        torch.save({entry.name: getattr(self, entry.name) for entry in fields(self)}, file)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> TrainingState:
        """The state that `to_bytes` wrote, in main memory; nothing in it is run as code."""
        return cls(**torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))
