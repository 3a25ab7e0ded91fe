"""Parts of a network that a training leaves as they are: their weights, and the statistics in them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def freeze(model: nn.Module, parts: Sequence[str]) -> None:
    """Take the parameters of these parts out of the training.

    Args:
        model: the network.
        parts: beginnings of names, whole words between dots: ``backbone``, ``head.box_net``.

    Raises:
        ValueError: there is no such part, or nothing else is left.
    """
    for part in parts:
        found = [p for name, p in model.named_parameters() if _is_in(name, part)]
        if not found:
            known = ", ".join(name for name, _ in model.named_children())
            raise ValueError(
                f"train.frozen: the network has no part called {part!r}; give {known} or a part of one, as "
                "its parameters are called in the weight file"
            )
        for parameter in found:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"train.frozen: nothing is left to train, got {list(parts)}; leave a part out")


def train_mode(model: nn.Module, frozen: Sequence[str]) -> None:
    """Put the network into training mode, and its frozen parts into evaluation mode."""
    model.train()
    for part in frozen:
        for name, module in model.named_modules():
            if _is_in(name, part):
                module.eval()


def _is_in(name: str, part: str) -> bool:
    return f"{name}.".startswith(f"{part}.")
