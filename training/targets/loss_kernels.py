"""`detection_loss` as two Triton kernels a pass, which touch each logit once and round its gradient once.

The plain form reads and writes a float32 tensor of the logits' size some twenty times; here a forward pass
reads the logits, in whatever precision they have, and a backward pass reads them again and writes their
gradient. Sums are made block by block in one order, so that a loss is the same at every call.

Shapes: R anchors of a batch (B * A), K classes. An element is one logit of `[R, K]`, or one number of a code
`[R, 4]`.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"
# Triton's kernels are a language of their own: their arguments are pointers and numbers of the device.

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from spinesearch.training.targets.losses import (
    BOX_LOSS_WEIGHT,
    CODES_PER_BOX,
    FOCAL_ALPHA,
    FOCAL_GAMMA,
    HUBER_DELTA,
    loss_weight,
)
from spinesearch.training.targets.matching import BACKGROUND

_BLOCK = 1024  # elements per program: eight a thread
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_ALPHA = tl.constexpr(FOCAL_ALPHA)
_GAMMA = tl.constexpr(FOCAL_GAMMA)
_DELTA = tl.constexpr(HUBER_DELTA)
_BOX_SCALE = BOX_LOSS_WEIGHT / CODES_PER_BOX
_NONE = tl.constexpr(BACKGROUND)
_CODES = tl.constexpr(CODES_PER_BOX)


def fused_detection_loss(cls_logits: Tensor, box_deltas: Tensor, classes: Tensor, codes: Tensor) -> Tensor:
    """`detection_loss` of the same arguments, a float32 scalar, to 1e-5 of its value.

    The gradients are within 1e-4 of the plain form's in float32, before they are rounded to the dtype of the
    predictions. They cannot be differentiated again.

    Args:
        cls_logits: `[B, A, K]`, float32, bfloat16 or float16.
        box_deltas: `[B, A, 4]`, likewise.
        classes: `[B, A]` int64, in 0..K-1, or `BACKGROUND`.
        codes: `[B, A, 4]` float32.
    """
    assert cls_logits.dtype in _DTYPES
    assert box_deltas.dtype in _DTYPES
    loss: Tensor = _DetectionLoss.apply(cls_logits, box_deltas, classes, codes)  # type: ignore[no-untyped-call]
    return loss


class _DetectionLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cls_logits: Tensor, box_deltas: Tensor, classes: Tensor, codes: Tensor) -> Tensor:
        cls_logits, box_deltas = cls_logits.contiguous(), box_deltas.contiguous()
        classes, codes = classes.contiguous(), codes.contiguous()
        num_classes = cls_logits.shape[-1]
        num_positives = loss_weight(classes)
        cls_sums, box_sums = (_block_sums(x) for x in (cls_logits, box_deltas))
        _focal_forward[cls_sums.shape](
            cls_logits, classes, cls_sums, cls_logits.numel(), num_classes=num_classes, block=_BLOCK
        )
        _huber_forward[box_sums.shape](box_deltas, codes, classes, box_sums, box_deltas.numel(), block=_BLOCK)
        ctx.save_for_backward(cls_logits, box_deltas, classes, codes, num_positives)
        return (cls_sums.sum() + _BOX_SCALE * box_sums.sum()) / num_positives

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor, None, None]:
        cls_logits, box_deltas, classes, codes, num_positives = ctx.saved_tensors
        cls_scale = (grad_output / num_positives).float()
        box_scale = cls_scale * _BOX_SCALE
        cls_grad, box_grad = torch.empty_like(cls_logits), torch.empty_like(box_deltas)
        _focal_backward[_grid(cls_logits)](
            cls_logits,
            classes,
            cls_scale,
            cls_grad,
            cls_logits.numel(),
            num_classes=cls_logits.shape[-1],
            block=_BLOCK,
        )
        _huber_backward[_grid(box_deltas)](
            box_deltas, codes, classes, box_scale, box_grad, box_deltas.numel(), block=_BLOCK
        )
        return cls_grad, box_grad, None, None


def _grid(x: Tensor) -> tuple[int]:
    return (triton.cdiv(x.numel(), _BLOCK),)


def _block_sums(x: Tensor) -> Tensor:
    """Uninitialised: a float32 for each block of elements."""
    return torch.empty(_grid(x), dtype=torch.float32, device=x.device)


@triton.jit
def _focal_terms(x, is_present):
    """Per logit: softplus(z), log(sigmoid(z)) and the weight, z the logit or, of a present class, minus it.

    The cost is ``weight * softplus(z) * sigmoid(z) ** gamma``.
    """
    z = tl.where(is_present, -x, x)
    weight = tl.where(is_present, _ALPHA, 1.0 - _ALPHA)
    t = tl.exp(-tl.abs(z))
    # log(1 + t); 1 + t has lost the digits of a small t, of which the series needs no more terms.
    series = t * (1.0 - t * (0.5 - t * (0.33333334 - t * (0.25 - t * 0.2))))
    log1p = tl.where(t < 0.0625, series, tl.log(1.0 + t))
    return tl.maximum(z, 0.0) + log1p, tl.minimum(z, 0.0) - log1p, weight


@triton.jit
def _classes_of(classes, start, offsets, is_inside, num: tl.constexpr):
    """Per element: the class of its anchor, and its place within the anchor's num elements."""
    first = start // num
    local = (start - first * num).to(tl.int32) + offsets  # small numbers, which divide faster
    row = local // num
    return tl.load(classes + first + row, mask=is_inside, other=_NONE), local - row * num


@triton.jit
def _focal_forward(logits, classes, sums, num_elements, num_classes: tl.constexpr, block: tl.constexpr):
    start = tl.program_id(0).to(tl.int64) * block
    offsets = tl.arange(0, block)
    is_inside = start + offsets < num_elements
    anchor_class, own_class = _classes_of(classes, start, offsets, is_inside, num_classes)
    x = tl.load(logits + start + offsets, mask=is_inside, other=0.0).to(tl.float32)
    cost, log_score, weight = _focal_terms(x, anchor_class == own_class)
    loss = weight * cost * tl.exp(log_score * _GAMMA)
    tl.store(sums + tl.program_id(0), tl.sum(tl.where(is_inside, loss, 0.0)))


@triton.jit
def _focal_backward(
    logits, classes, scale, gradients, num_elements, num_classes: tl.constexpr, block: tl.constexpr
):
    start = tl.program_id(0).to(tl.int64) * block
    offsets = tl.arange(0, block)
    is_inside = start + offsets < num_elements
    anchor_class, own_class = _classes_of(classes, start, offsets, is_inside, num_classes)
    is_present = anchor_class == own_class
    x = tl.load(logits + start + offsets, mask=is_inside, other=0.0).to(tl.float32)
    cost, log_score, weight = _focal_terms(x, is_present)
    slope = weight * tl.exp(log_score * _GAMMA) * (tl.exp(-cost) * cost * _GAMMA + tl.exp(log_score))
    gradient = tl.load(scale) * tl.where(is_present, -slope, slope)
    tl.store(gradients + start + offsets, gradient.to(gradients.dtype.element_ty), mask=is_inside)


@triton.jit
def _code_errors(deltas, codes, classes, start, offsets, is_inside):
    """Per number of a code: by how much it is wrong, 0 for a background anchor."""
    anchor_class, _ = _classes_of(classes, start, offsets, is_inside, _CODES)
    delta = tl.load(deltas + start + offsets, mask=is_inside, other=0.0).to(tl.float32)
    code = tl.load(codes + start + offsets, mask=is_inside, other=0.0)
    return tl.where(anchor_class != _NONE, delta - code, 0.0)


@triton.jit
def _huber_forward(deltas, codes, classes, sums, num_elements, block: tl.constexpr):
    start = tl.program_id(0).to(tl.int64) * block
    offsets = tl.arange(0, block)
    is_inside = start + offsets < num_elements
    error = tl.abs(_code_errors(deltas, codes, classes, start, offsets, is_inside))
    loss = tl.where(error <= _DELTA, 0.5 * error * error, (error - 0.5 * _DELTA) * _DELTA)
    tl.store(sums + tl.program_id(0), tl.sum(loss))


@triton.jit
def _huber_backward(deltas, codes, classes, scale, gradients, num_elements, block: tl.constexpr):
    start = tl.program_id(0).to(tl.int64) * block
    offsets = tl.arange(0, block)
    is_inside = start + offsets < num_elements
    error = _code_errors(deltas, codes, classes, start, offsets, is_inside)
    gradient = tl.load(scale) * tl.minimum(tl.maximum(error, -_DELTA), _DELTA)
    tl.store(gradients + start + offsets, gradient.to(gradients.dtype.element_ty), mask=is_inside)
