"""Which form of targets and loss a training step has: the plain one, or a faster one that equals it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.testing import assert_close

from spinesearch.training.process.failures import is_out_of_memory
from spinesearch.training.targets.losses import detection_loss
from spinesearch.training.targets.matching import BACKGROUND, make_targets, match_objects

_log = logging.getLogger(__name__)


class StepForms(NamedTuple):
    """Both functions of a training step that have several forms.

    Attributes:
        make_targets: as `spinesearch.training.targets.matching.make_targets`.
        detection_loss: as `spinesearch.training.targets.losses.detection_loss`.
    """

    make_targets: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    detection_loss: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


PLAIN = StepForms(make_targets, detection_loss)
"""PyTorch's own operations on padded tensors: the reference, and what runs where nothing else can."""
OBJECTS_ALONE = StepForms(partial(make_targets, match=match_objects), detection_loss)
"""Equal to the last bit; for the CPU."""


def step_forms(kernels: str, device: torch.device) -> StepForms:
    """The forms of a `Recipe.kernels` on this device.

    "off" is `PLAIN`; else it is `OBJECTS_ALONE` on the CPU and Triton's kernels on CUDA. Where these cannot
    be compiled, or do not give what the plain forms give, that is logged once and the plain forms are used.

    Raises:
        RuntimeError: the device is out of memory or lost at their first use.
    """
    if kernels == "off":
        return PLAIN
    return OBJECTS_ALONE if device.type == "cpu" else _kernels(device)


@cache
def _kernels(device: torch.device) -> StepForms:
    try:
        from spinesearch.training.targets.loss_kernels import fused_detection_loss
        from spinesearch.training.targets.match_kernels import fused_make_targets

        forms = StepForms(fused_make_targets, fused_detection_loss)
        for dtype in (torch.float32, torch.bfloat16):
            _check(forms, device, dtype)
    except Exception as error:  # no Triton, no C compiler, a GPU that it does not know, a wrong result
        if isinstance(error, torch.AcceleratorError) or is_out_of_memory(error, device):
            raise  # says nothing of the kernels: the next candidate, or the next process, tries them again
        text = " ".join(f"{type(error).__name__}: {error}".split())
        _log.warning(
            "kernels: those of loss and targets cannot be used (%s); training goes on with the plain "
            "forms, which give the same and are slower; kernels=off skips the attempt",
            text[:300],
        )
        return PLAIN
    return forms


def _check(forms: StepForms, device: torch.device, dtype: torch.dtype) -> None:
    """Compile the kernels and compare them with the plain forms on two small images.

    Raises:
        AssertionError: they differ by more than rounding.
    """
    places = torch.arange(96, device=device) * 8.0
    anchors = torch.stack((places, places, places + 20, places + 30), dim=1)
    boxes = anchors[:34].view(2, 17, 4) * 1.1 + 3
    labels = torch.arange(34, device=device).view(2, 17) % 5 + BACKGROUND
    targets, plain_targets = (form.make_targets(anchors, boxes, labels) for form in (forms, PLAIN))
    for found, plain in zip(targets, plain_targets, strict=True):
        assert_close(found, plain, rtol=0, atol=0)
    logits = torch.linspace(-9, 9, 2 * 96 * 4, device=device, dtype=dtype).view(2, 96, 4).requires_grad_()
    deltas = torch.linspace(-1, 1, 2 * 96 * 4, device=device, dtype=dtype).view(2, 96, 4).requires_grad_()
    losses = [form.detection_loss(logits, deltas, *plain_targets) for form in (forms, PLAIN)]
    assert_close(losses[0], losses[1], rtol=1e-5, atol=0)
    grads = [torch.autograd.grad(loss, (logits, deltas)) for loss in losses]
    rtol = 1e-4 if dtype == torch.float32 else 2 * torch.finfo(dtype).eps
    for found, plain in zip(*grads, strict=True):
        assert_close(found, plain, rtol=rtol, atol=1e-8)
