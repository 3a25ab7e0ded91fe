"""The optimiser of the proxy task and the course of its learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn

from spinesearch.proxy_task.settings import ProxySettings

STEP_DECAY = 0.1  # section 5.1 of the SpineNet paper: the rate falls tenfold at each milestone


def build_optimizer(model: nn.Module, settings: ProxySettings) -> torch.optim.Optimizer:
    """SGD with momentum or AdamW over two groups: convolution kernels with weight decay, all else without.

    Biases and batch normalisation are one-dimensional, kernels never are. One fused update of all tensors takes a
    tenth of the time of one by one, which counts where the tensors are small.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, fused=True)
    return torch.optim.AdamW(groups, lr=settings.lr, fused=True)


def learning_rate(step: int, num_steps: int, settings: ProxySettings) -> float:
    """Learning rate of this step, 0 <= step < num_steps.

    Warm-up rises linearly and reaches the schedule's value at step ``warmup_steps - 1``. The cosine falls from ``lr``
    at the end of warm-up towards zero just past the last step; the step schedule counts its fractions over the whole
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


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr
