"""Loss and gradients of one training step on the GPU against those on the CPU: same seed, same batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from check_parts import DRAWN, QUICK_DRAWN, Emit, Part, configured, table
from torch import Tensor

from spinesearch.data.open import ProxyData
from spinesearch.models.heads.anchors import make_anchors
from spinesearch.proxy_task.model import build_model
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.space import SPINENET_49
from spinesearch.training.input.augment import normalize
from spinesearch.training.input.batches import load_batch
from spinesearch.training.targets.losses import detection_loss
from spinesearch.training.targets.matching import make_targets

CPU = torch.device("cpu")
# How many times more than a change of the images the numbers may change the gradients: they round in every
# layer, not only in the first.
_LIMIT = 4.0
_FULL = ("proxy_task=paper", "proxy_task.image_size=256", "proxy_task.batch_size=16")
_QUICK = ("proxy_task=small", "proxy_task.batch_size=4")


class Numbers(NamedTuple):
    """How a step is computed.

    Attributes:
        name: in the report.
        dtype: of the forward pass.
        uses_tf32: whether float32 convolutions use TensorFloat-32 on a GPU.
        rounding: relative error of a result; of float32 after a convolution by transforms (Winograd).
        loss_limit: the largest relative difference of the loss; wide, for it is to catch a wrong kernel.
    """

    name: str
    dtype: torch.dtype
    uses_tf32: bool
    rounding: float
    loss_limit: float


FLOAT32 = Numbers("float32", torch.float32, False, 1e-5, 1e-4)
TF32 = Numbers("float32, TF32 in convolutions (PyTorch's default)", torch.float32, True, 2**-11, 1e-3)
BFLOAT16 = Numbers("bfloat16 by autocast", torch.bfloat16, True, 2**-9, 1e-2)


class Step(NamedTuple):
    """The loss of a step, and the gradients by name, float64 on the CPU."""

    loss: float
    gradients: dict[str, Tensor]


def run(quick: bool, emit: Emit) -> None:
    """Emit the differences; on a machine without a GPU those of the CPU's bfloat16."""
    overrides = _QUICK if quick else _FULL
    config, data = configured([*(QUICK_DRAWN if quick else DRAWN), *overrides])
    settings = config.proxy_task
    is_cuda = torch.cuda.is_available()
    device = torch.device("cuda", torch.cuda.current_device()) if is_cuda else CPU
    reference = step(settings, data, CPU, FLOAT32)
    rows, values, wrong = [], {}, []
    for numbers in (FLOAT32, TF32, BFLOAT16) if is_cuda else (BFLOAT16,):
        moved = compare(step(settings, data, CPU, FLOAT32, image_change=numbers.rounding), reference)
        found = compare(step(settings, data, device, numbers), reference)
        limit = _LIMIT * moved["gradient"]
        is_wrong = not (found["loss"] <= numbers.loss_limit and found["gradient"] <= limit)  # or is nan
        wrong += [numbers.name] * is_wrong
        values[numbers.name] = {"found": found, "images_changed": moved, "gradient_limit": limit}
        cells = (found["loss"], numbers.loss_limit, found["gradient"], limit, found["gradient norm"])
        rows.append([f"{device.type}, {numbers.name}", *(f"{value:.1e}" for value in cells)])
    num_parameters = sum(gradient.numel() for gradient in reference.gradients.values())
    lines = [
        f"SpineNet-49 with its head (`{overrides[0]}`), {num_parameters:,} parameters, {settings.batch_size} "
        f"images of {settings.image_size} px, batch normalisation in training. Relative differences from "
        f"float32 on the CPU (loss {reference.loss:.6f}); of the gradients the norm of the difference over "
        "the norm. Batch normalisation over few values magnifies any rounding, so the limit of the gradients "
        f"is {_LIMIT:g} times what they change on the CPU when the images change by as much as these numbers "
        "round.",
        "",
        *table(("", "loss", "limit", "gradients", "limit", "their norm"), rows),
    ]
    problem = f"further from the CPU than the limits: {'; '.join(wrong)}" if wrong else ""
    emit(Part(title="", lines=lines, values={"loss": reference.loss, "differences": values}, problem=problem))


def step(
    settings: ProxySettings,
    data: ProxyData,
    device: torch.device,
    numbers: Numbers,
    *,
    image_change: float = 0.0,
) -> Step:
    """One forward and backward pass of the detector on the first training images, unaugmented.

    Args:
        settings: of the detector, and how many images.
        data: where from.
        device: of the pass.
        numbers: of the pass.
        image_change: standard deviation of a random relative change of every pixel.
    """
    torch.manual_seed(0)
    model = build_model(SPINENET_49, settings, num_classes=data.num_classes)  # initialised on the CPU
    model.to(device).train()
    anchors = make_anchors(
        settings.image_size, num_scales=settings.num_scales, base_anchor=settings.base_anchor
    ).to(device)
    index = np.asarray(data.train_index[: settings.batch_size])
    batch = normalize(load_batch(data, index, CPU).to(device))
    classes, codes = make_targets(anchors, batch.boxes, batch.labels)
    images = batch.images * (1 + image_change * torch.randn_like(batch.images))
    with _tf32(numbers.uses_tf32):
        with torch.autocast(device.type, torch.bfloat16, enabled=numbers.dtype == torch.bfloat16):
            cls_logits, box_deltas = model(images.contiguous(memory_format=torch.channels_last))
        loss = detection_loss(cls_logits, box_deltas, classes, codes)
        torch.autograd.backward(loss)
    gradients = {
        name: parameter.grad.double().cpu()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    return Step(float(loss.detach()), gradients)


def compare(step: Step, reference: Step) -> dict[str, float]:
    """Relative differences: of the loss, of all gradients as one vector, and of its norm."""
    assert step.gradients.keys() == reference.gradients.keys()
    ours, theirs = (torch.cat([g.flatten() for g in s.gradients.values()]) for s in (step, reference))
    return {
        "loss": abs(step.loss - reference.loss) / abs(reference.loss),
        "gradient": float((ours - theirs).norm() / theirs.norm()),
        "gradient norm": float((ours.norm() - theirs.norm()).abs() / theirs.norm()),
    }


@contextmanager
def _tf32(is_on: bool) -> Iterator[None]:
    """Within it float32 convolutions use TensorFloat-32 on a GPU, or do not."""
    convolution = torch.backends.cudnn.conv  # type: ignore[attr-defined]  # torch's stubs lack it
    before = convolution.fp32_precision
    convolution.fp32_precision = "tf32" if is_on else "ieee"
    try:
        yield
    finally:
        convolution.fp32_precision = before
