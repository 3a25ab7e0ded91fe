"""A moving average of a network's weights, which is measured and kept in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The exponential moving average of all that a network has in floating point, statistics included.

    Early in a training the average is taken over what there is so far, (1 + t) / (10 + t) of it kept after t
    steps, as TensorFlow's `ExponentialMovingAverage` does.

    Args:
        model: on its final device.
        decay: share of the average that stays after a step, once there are enough of them.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        state = model.state_dict()
        self._names = [name for name, tensor in state.items() if tensor.is_floating_point()]
        self._live = [state[name].detach() for name in self._names]
        self._averages = [tensor.clone() for tensor in self._live]
        self._decay = decay

    @torch.no_grad()
    def update(self, num_steps: int) -> None:
        """Take in the weights after this many steps."""
        decay = min(self._decay, (1 + num_steps) / (10 + num_steps))
        torch._foreach_lerp_(self._averages, self._live, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it the network has the averages for weights."""
        kept = [tensor.clone() for tensor in self._live]
        with torch.no_grad():
            torch._foreach_copy_(self._live, self._averages)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self._live, kept)

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of the averages, by name."""
        return {name: tensor.clone() for name, tensor in zip(self._names, self._averages, strict=True)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a `state_dict` of an equal network."""
        for name, tensor in zip(self._names, self._averages, strict=True):
            tensor.copy_(state[name])
