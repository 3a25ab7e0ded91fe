"""Batch normalisation over the batches of all processes together, on any device.

PyTorch's own synchronised layer raises off the GPU. Here each layer adds its counts, sums and sums of squares
over the processes in one exchange; the gradient needs one more.

Shapes: B images, C channels, H x W pixels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def synchronize_norms(model: nn.Module) -> None:
    """Have every batch normalisation of a network take its statistics over all processes, in place."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncedBatchNorm2d


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose batch is that of all processes; in evaluation mode there is no difference."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        if not self.training:
            return super().forward(x)
        out, mean, variance, count = _SyncedNorm.apply(x, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        assert self.momentum is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        normalized: Tensor = out
        return normalized


class _SyncedNorm(torch.autograd.Function):
    """Normalisation by the statistics of all processes' batches; returns these too, and their count."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
        values = x.float()
        channels = x.shape[1]
        own_variance, own_mean = (part.double() for part in torch.var_mean(values, (0, 2, 3), correction=0))
        own_count = x.numel() / channels
        # Summed in float64: at the coarse levels variances are small beside squares, and their difference.
        totals = torch.cat((own_mean, own_variance + own_mean.square(), own_mean.new_ones(1))) * own_count
        dist.all_reduce(totals)
        sums, squares, count = torch.split(totals, [channels, channels, 1])
        variance = (squares / count - (sums / count).square()).clamp(min=0).float()
        mean, count = (sums / count).float(), count.float()
        inverse = (variance + eps).rsqrt()
        normal = (values - _wide(mean)) * _wide(inverse)
        ctx.save_for_backward(normal, weight, inverse, count)
        ctx.mark_non_differentiable(mean, variance, count)
        out = normal * _wide(weight) + _wide(bias)
        return out.to(x.dtype), mean, variance, count

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        normal, weight, inverse, count = ctx.saved_tensors
        grad = grads[0].float()
        own = torch.cat((grad.sum((0, 2, 3)), (grad * normal).sum((0, 2, 3))))
        totals = own.clone()
        dist.all_reduce(totals)
        of_bias, of_weight = totals.chunk(2)
        centred = grad - (_wide(of_bias) + normal * _wide(of_weight)) / count
        grad_x = centred * _wide(weight * inverse)
        # Weight and bias get this process's part: gradients of parameters are summed over processes later.
        grad_bias, grad_weight = own.chunk(2)
        return grad_x.to(grads[0].dtype), grad_weight, grad_bias, None


def _wide(channels: Tensor) -> Tensor:
    """[C] as [1, C, 1, 1]."""
    return channels[None, :, None, None]
