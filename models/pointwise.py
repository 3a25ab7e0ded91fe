"""1x1 convolutions with batch normalisation, rewritten to touch memory less often.

A 1x1 convolution is one matrix product over all pixels, and on a CPU the passes that batch normalisation
makes over its output cost as much time as the product. These rewrites save most of them; none changes what
is computed, only the order of float sums. `docs/model-speed.md` has what each of them gains.

- Layers that read one feature run as one (`conv_norms`).
- In training, the batch statistics of a wide output come from the covariance of the narrow input, so that the
  normalisation can go into the kernel before the product is taken (`ExpandNorm`), and the product before
  upsampling (`expand_norm`).
- In evaluation, batch normalisation is a factor on the kernel and a bias.

Layers that `spinesearch.models.gpu` marks have all but the covariance, on any device and in any precision.

Shapes: B images, n and m channels before and after, H x W pixels, N = B * H * W rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.autograd.function import FunctionCtx
from torch.nn.modules.module import _has_any_global_hook

# From here on the passes saved outweigh the covariance and its gradient (docs/model-speed.md).
MIN_FOLD_ROWS = 2048
MIN_FOLD_EXPANSION = 2


class PointwiseLayer(Protocol):
    """A 1x1 convolution of stride 1, its batch normalisation and activation: a `ConvNorm` of that kind."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d
    activation: nn.Module
    is_for_gpu: bool


def can_rewrite(x: Tensor, layers: Sequence[PointwiseLayer]) -> bool:
    """Whether `conv_norms` may take the place of these layers, all of them 1x1 and of stride 1.

    It may on the CPU, in full precision, outside of autocast and of graph capture, and anywhere if they are
    marked, as long as no part of the layers has been replaced or has a hook. Several layers must normalise
    alike, in one mode: a part of a network may be frozen.
    """
    is_for_gpu = all(layer.is_for_gpu for layer in layers)
    return (
        type(x) is Tensor
        and (x.numel() > x.shape[1] if is_for_gpu else _is_full_precision_on_cpu(x))
        and not torch.compiler.is_compiling()
        and forward_ad._current_level < 0  # no forward-mode differentiation is under way
        and not _has_any_global_hook()  # type: ignore[no-untyped-call]
        and all(_is_plain(layer) for layer in layers)
        and (len(layers) == 1 or len({_manner(layer) for layer in layers}) == 1)
    )


def has_hooks(module: nn.Module) -> bool:
    """Whether a hook is set that observes this module, or changes its inputs or outputs."""
    forward, backward = module._forward_hooks, module._backward_hooks
    return bool(forward or module._forward_pre_hooks or backward or module._backward_pre_hooks)


def conv_norms(x: Tensor, layers: Sequence[PointwiseLayer]) -> list[Tensor]:
    """Outputs of 1x1 layers of one style and mode that all read one feature, computed as one layer.

    Args:
        x: [B, n, H, W], best in channels-last order.
        layers: each a 1x1 convolution of stride 1; `can_rewrite` allows them.

    Returns:
        One tensor [B, m, H, W] per layer, channels last; those of several layers are parts of one.
    """
    first = layers[0]
    if first.norm.training and len(layers) == 1 and _fold_is_faster(x, first):
        out = expand_norm(x, first, size=(x.shape[2], x.shape[3]))
    else:
        norms = [layer.norm for layer in layers]
        kernel = _joined([layer.conv.weight for layer in layers]).flatten(1)
        gamma, beta = _joined([norm.weight for norm in norms]), _joined([norm.bias for norm in norms])
        means, variances = [_mean(norm) for norm in norms], [_variance(norm) for norm in norms]
        mean, variance = _joined(means), _joined(variances)
        if first.norm.training:
            momentum = first.norm.momentum
            assert momentum is not None
            out = F.batch_norm(
                _product(x, kernel, first), mean, variance, gamma, beta, True, momentum, first.norm.eps
            )
            if len(layers) > 1:
                torch._foreach_copy_(means, torch.split(mean, [len(part) for part in means]))
                torch._foreach_copy_(variances, torch.split(variance, [len(part) for part in variances]))
            _count_batch(norms)
        else:
            factor = gamma * torch.rsqrt(variance + first.norm.eps)
            out = _product(x, kernel * factor[:, None], first, beta - mean * factor)
    out = first.activation(out)
    if len(layers) == 1:
        return [out]
    return list(torch.split(out, [layer.conv.out_channels for layer in layers], dim=1))


def expand_norm(x: Tensor, layer: PointwiseLayer, *, size: tuple[int, int]) -> Tensor:
    """Output of a 1x1 layer in training, before its activation.

    Repeating every pixel equally often changes neither mean nor variance of a batch, so a feature may be
    upsampled after this instead of before. Only the running variance distinguishes the two: it estimates the
    variance from N numbers as N / (N - 1) times the batch's, N those of the size after upsampling.

    Args:
        x: [B, n, h, w].
        layer: `can_rewrite` allows it.
        size: that the output has, or is going to be upsampled to by whole factors.

    Returns:
        [B, m, h, w].
    """
    conv, norm = layer.conv, layer.norm
    out: Tensor
    if layer.is_for_gpu:
        mean, variance = norm.weight.new_zeros(2, len(norm.weight))
        out = F.batch_norm(
            F.conv2d(x, conv.weight), mean, variance, norm.weight, norm.bias, True, 1.0, norm.eps
        )
        variance = variance * (1 - 1 / (x.numel() // x.shape[1]))  # divided by N - 1, that before upsampling
    else:
        out, mean, variance = ExpandNorm.apply(x, conv.weight.flatten(1), norm.weight, norm.bias, norm.eps)  # type: ignore[no-untyped-call]
    num_rows = x.shape[0] * size[0] * size[1]
    assert norm.momentum is not None
    with torch.no_grad():
        _mean(norm).lerp_(mean, norm.momentum)
        _variance(norm).lerp_(variance * (num_rows / (num_rows - 1)), norm.momentum)
    _count_batch([norm])
    return out


class ExpandNorm(torch.autograd.Function):
    """Training-mode batch normalisation of a 1x1 convolution to more channels, in one pass over the output.

    With rows c_i of the input centred on its mean, C = sum_i c_i c_i' / N and w a row of the kernel, the
    output's batch variance is w' C w, so that the normalised output is one product with the kernel
    gamma / sqrt(w' C w + eps) * w, and beta is added by a column of ones. Input and output are the only
    tensors of N rows.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, kernel: Tensor, gamma: Tensor, beta: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The normalised output [B, m, H, W], and the batch's mean and variance [m] (divided by N).

        Args:
            ctx: of autograd.
            x: [B, n, H, W].
            kernel: [m, n].
            gamma: [m].
            beta: [m].
            eps: added to the variance.
        """
        rows = _rows(x)
        num_rows, n = rows.shape
        ones = rows.new_ones(1, num_rows)
        row_mean = (ones @ rows).div_(num_rows)[0]
        centred = rows.new_empty(num_rows, n + 1)
        torch.sub(rows, row_mean, out=centred[:, :n])
        centred[:, n] = 1.0
        covariance = (centred[:, :n].t() @ centred[:, :n]).div_(num_rows)
        spread = kernel @ covariance
        variance = (spread * kernel).sum(1).clamp_min_(0.0)
        inv_std = torch.rsqrt(variance + eps)
        factor = gamma * inv_std
        out = _empty(x, len(kernel))
        torch.mm(centred, torch.cat([kernel * factor[:, None], beta[:, None]], dim=1).t(), out=_row_view(out))
        mean = kernel @ row_mean
        ctx.save_for_backward(x, kernel, gamma, beta, centred, spread, inv_std)
        ctx.eps = eps  # type: ignore[attr-defined]
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        """Gradients of x [B, n, H, W], kernel [m, n], gamma [m] and beta [m]."""
        x, kernel, gamma, beta, centred, spread, inv_std = ctx.saved_tensors
        if torch.is_grad_enabled():  # with create_graph: to be differentiated again
            return _differentiable_gradients(x, kernel, gamma, beta, ctx.eps, grad)
        num_rows, n = centred.shape[0], kernel.shape[1]
        grad_rows = _rows(grad)
        grad_affine = (centred.t() @ grad_rows).t()  # of the factored kernel, and of beta in the last column
        grad_kernel, grad_beta = grad_affine[:, :n], grad_affine[:, n]
        factor = gamma * inv_std
        grad_factor = (grad_kernel * kernel).sum(1)
        grad_variance = -0.5 * inv_std**3 * gamma * grad_factor
        # w' C w has the gradient 2 C w in w, and w w' in C, which has 2 c / N in each row.
        grad_covariance = (kernel.t() * grad_variance) @ kernel
        factored = kernel * factor[:, None]
        from_rows = torch.cat(
            [grad_covariance.mul_(2.0 / num_rows), (grad_beta @ factored)[None] / -num_rows]
        )
        grad_x = _empty(grad, n)
        torch.mm(centred, from_rows, out=_row_view(grad_x))
        _row_view(grad_x).addmm_(grad_rows, factored)
        grad_kernel = (grad_kernel * factor[:, None]).addcmul_(spread, grad_variance[:, None], value=2.0)
        return grad_x, grad_kernel, grad_factor * inv_std, grad_beta, None


def _differentiable_gradients(
    x: Tensor, kernel: Tensor, gamma: Tensor, beta: Tensor, eps: float, grad: Tensor
) -> tuple[Tensor | None, ...]:
    """Gradients of `ExpandNorm`'s arguments by PyTorch's own operations, to be differentiated again."""
    out = F.batch_norm(_images(F.linear(_rows(x), kernel), x), None, None, gamma, beta, True, 0.0, eps)
    inputs = [tensor for tensor in (x, kernel, gamma, beta) if tensor.requires_grad]
    found = iter(torch.autograd.grad(out, inputs, grad, create_graph=True))
    return (*(next(found) if t.requires_grad else None for t in (x, kernel, gamma, beta)), None)


def _fold_is_faster(x: Tensor, layer: PointwiseLayer) -> bool:
    num_rows, conv = x.shape[0] * x.shape[2] * x.shape[3], layer.conv
    is_wide = num_rows >= MIN_FOLD_ROWS and conv.out_channels >= MIN_FOLD_EXPANSION * conv.in_channels
    return is_wide and not layer.is_for_gpu


def _product(x: Tensor, kernel: Tensor, layer: PointwiseLayer, bias: Tensor | None = None) -> Tensor:
    """Every pixel of [B, n, H, W] times a kernel [m, n]: [B, m, H, W]."""
    if layer.is_for_gpu:
        return F.conv2d(x, kernel[:, :, None, None], bias)
    return _images(F.linear(_rows(x), kernel, bias), x)


def _is_full_precision_on_cpu(x: Tensor) -> bool:
    is_full = x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")
    return is_full and x.device.type == "cpu"


def _is_plain(layer: PointwiseLayer) -> bool:
    """Whether a layer is made of PyTorch's own parts, keeps running statistics, and no hook is set on one."""
    conv, norm, activation = layer.conv, layer.norm, layer.activation
    return (
        type(conv) is nn.Conv2d
        and conv.bias is None
        and type(norm) is nn.BatchNorm2d
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
        and type(activation) in (nn.ReLU, nn.SiLU, nn.Hardswish, nn.Identity)
        and isinstance(layer, nn.Module)
        and not any(has_hooks(module) for module in (layer, conv, norm, activation))
    )


def _manner(layer: PointwiseLayer) -> tuple[bool, float, float | None, type[nn.Module]]:
    """All that decides how a layer normalises and activates, its weights and statistics apart."""
    norm = layer.norm
    return norm.training, norm.eps, norm.momentum, type(layer.activation)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(parts)) if len(parts) > 1 else parts[0]


def _mean(norm: nn.BatchNorm2d) -> Tensor:
    assert norm.running_mean is not None
    return norm.running_mean


def _variance(norm: nn.BatchNorm2d) -> Tensor:
    assert norm.running_var is not None
    return norm.running_var


def _count_batch(norms: Iterable[nn.BatchNorm2d]) -> None:
    for norm in norms:
        if norm.num_batches_tracked is not None:  # else it is counted elsewhere, as `nn.BatchNorm2d` has it
            norm.num_batches_tracked.add_(1)


def _empty(like: Tensor, channels: int) -> Tensor:
    """Uninitialised [B, channels, H, W] in channels-last order, the rest as in another tensor."""
    batch, _, height, width = like.shape
    shape = (batch, channels, height, width)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _rows(x: Tensor) -> Tensor:
    """[B, C, H, W] as [B * H * W, C]; a view where x is in channels-last order."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _row_view(x: Tensor) -> Tensor:
    """[B, C, H, W] in channels-last order as [B * H * W, C], to write into."""
    return x.permute(0, 2, 3, 1).view(-1, x.shape[1])


def _images(rows: Tensor, like: Tensor) -> Tensor:
    """[B * H * W, C] as [B, C, H, W] in channels-last order, with the sides of another tensor."""
    batch, _, height, width = like.shape
    return rows.view(batch, height, width, rows.shape[1]).permute(0, 3, 1, 2)
