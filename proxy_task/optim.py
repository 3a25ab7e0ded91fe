"""The optimiser of the proxy task and the course of its learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from spinesearch.proxy_task.settings import ProxySettings

STEP_DECAY = 0.1  # section 5.1 of the SpineNet paper: the rate falls tenfold at each milestone


class FlatOptimizer:
    """SGD with momentum or AdamW on a model whose parameters it moves into two vectors.

    The vectors are the two groups: convolution kernels, with weight decay, and all else (biases and batch
    normalisation, which have one dimension each), without. A narrow SpineNet has some six hundred small
    parameters; clipping and updating two vectors instead takes a tenth of the time.

    Args:
        model: on its final device; its parameters become views of the vectors.
        settings: the recipe.
    """

    def __init__(self, model: nn.Module, settings: ProxySettings) -> None:
        parameters = [p for p in model.parameters() if p.requires_grad]
        kernels = [p for p in parameters if p.ndim > 1]
        others = [p for p in parameters if p.ndim <= 1]
        self._clip_norm = settings.clip_norm
        self._groups = [(_flatten(group), group) for group in (kernels, others) if group]
        vectors = [
            {"params": [vector], "weight_decay": settings.weight_decay if group is kernels else 0.0}
            for vector, group in self._groups
        ]
        self._optimizer: torch.optim.Optimizer
        if settings.optimizer == "sgd":
            self._optimizer = torch.optim.SGD(vectors, lr=settings.lr, momentum=settings.momentum)
        else:
            self._optimizer = torch.optim.AdamW(vectors, lr=settings.lr)

    def step(self, loss: Tensor, lr: float) -> Tensor:
        """Take one step down the loss, a scalar; returns the gradient's global norm before it was clipped."""
        torch.autograd.backward(loss)
        for vector, group in self._groups:
            # What no output depends on has no gradient; zeros leave it where it is, or let it decay.
            grads = (torch.zeros_like(p) if p.grad is None else p.grad for p in group)
            vector.grad = torch.cat([grad.flatten() for grad in grads])
            for p in group:
                p.grad = None
        for vectors in self._optimizer.param_groups:
            vectors["lr"] = lr
        norm = nn.utils.clip_grad_norm_([vector for vector, _ in self._groups], self._clip_norm)
        self._optimizer.step()
        return norm


def learning_rate(step: int, num_steps: int, settings: ProxySettings) -> float:
    """Learning rate of this step, 0 <= step < num_steps.

    Warm-up rises linearly and reaches ``lr`` at step ``warmup_steps - 1``. The cosine falls from ``lr``
    after warm-up towards zero just past the last step; the step schedule counts its fractions over the whole
    training, warm-up included.
    """
    warmup = settings.warmup_steps
    if step < warmup:
        return settings.lr * (step + 1) / warmup
    if settings.schedule == "step":
        passed = sum(step >= fraction * num_steps for fraction in settings.decay_at)
        return settings.lr * STEP_DECAY**passed
    progress = (step - warmup) / max(num_steps - warmup, 1)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * progress))


def _flatten(parameters: Iterable[nn.Parameter]) -> nn.Parameter:
    """A vector of all these parameters, which become views of it."""
    parameters = list(parameters)
    vector = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
    for p, part in zip(
        parameters, torch.split(vector.detach(), [p.numel() for p in parameters]), strict=True
    ):
        p.data = part.view_as(p)
    return vector
