"""Each fused form beside the plain one: targets, loss, the network in training and in evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import NamedTuple

import torch
from check_parts import Emit, Part, table
from torch import Tensor, nn

from spinesearch.models.gpu import folded, mark_for_gpu
from spinesearch.models.heads.anchors import anchors_per_cell, make_anchors
from spinesearch.models.heads.detector import build_detector
from spinesearch.models.heads.predict import head_outputs
from spinesearch.space import SPINENET_49
from spinesearch.training.process.stopwatch import Stopwatch
from spinesearch.training.targets.forms import PLAIN, StepForms, step_forms
from spinesearch.training.targets.matching import BACKGROUND

Work = Callable[[], object]
_MEAN_OBJECTS, _MOST_OBJECTS = 7, 93  # of an image of COCO: on average, and the fullest one's


class Size(NamedTuple):
    """What a step has to do.

    Attributes:
        num_images: of a batch.
        side: of an image, pixels.
        num_scales: anchors per octave.
        num_classes: of the head.
        width: of the backbone, as `filter_size_scale`.
        precision: of the network.
        num_rounds: how often each form is timed.
    """

    num_images: int
    side: int
    num_scales: int
    num_classes: int
    width: float
    precision: str
    num_rounds: int


PAPER = Size(64, 512, 3, 80, 0.25, "bfloat16", 20)
QUICK = Size(16, 128, 1, 20, 0.125, "float32", 3)


def run(quick: bool, emit: Emit) -> None:
    """Emit a row for each part, before and after; on the CPU the loss has one form, and so no row."""
    is_cuda = torch.cuda.is_available()
    device = torch.device("cuda", torch.cuda.current_device()) if is_cuda else torch.device("cpu")
    size = QUICK if quick else PAPER
    forms = step_forms("auto", device)
    is_missing = is_cuda and forms is PLAIN
    anchors = make_anchors(size.side, num_scales=size.num_scales, base_anchor=3.0).to(device)
    about = (
        f"{size.num_images} images of {size.side} px, {len(anchors):,} anchors, {size.num_classes} classes, "
        f"{size.precision}, SpineNet-49 at width {size.width:g}, on {device.type}."
    )
    times: dict[str, dict[str, list[float]]] = {}
    for name, plain, fused in pairs(forms, anchors, size):
        times[name] = _in_turn(plain, fused, size.num_rounds, device)
        rows = [
            (name, *map(_ms, found.values()), f"{median(found['plain']) / median(found['fused']):.2f}")
            for name, found in times.items()
        ]
        emit(
            Part(
                title="",
                lines=[about, "", *table(("", "plain, ms", "fused, ms", "plain / fused"), rows)],
                values={"seconds": times, "size": size._asdict()},
                problem="the kernels cannot be used here; fused.log has the reason" if is_missing else "",
            )
        )


def pairs(forms: StepForms, anchors: Tensor, size: Size) -> Iterator[tuple[str, Work, Work]]:
    """The name of each part, its plain form and its fused one, ready to be called again and again."""
    plain: Work
    fused: Work
    device = anchors.device
    others = [_MEAN_OBJECTS] * (size.num_images - 1)
    for name, most in (("one crowded image", _MOST_OBJECTS), ("even", _MEAN_OBJECTS)):
        boxes, labels = truth([most, *others], size, device)
        plain, fused = (partial(form.make_targets, anchors, boxes, labels) for form in (PLAIN, forms))
        yield f"targets, {name}", plain, fused
    if forms.detection_loss is not PLAIN.detection_loss:
        classes, codes = PLAIN.make_targets(anchors, boxes, labels)
        dtype = torch.bfloat16 if size.precision == "bfloat16" else torch.float32
        logits = torch.full((*classes.shape, size.num_classes), -4.6, dtype=dtype, device=device)
        deltas = torch.zeros(*classes.shape, 4, dtype=dtype, device=device)
        made = logits.requires_grad_(), deltas.requires_grad_(), classes, codes
        plain, fused = (partial(_loss_step, form.detection_loss, *made) for form in (PLAIN, forms))
        yield "loss, forward and backward", plain, fused
    images = torch.rand(size.num_images, 3, size.side, size.side, device=device)
    model, marked = (detector(size).to(device) for _ in range(2))
    mark_for_gpu(marked)
    plain, fused = (partial(_network_step, network, images, size) for network in (model, marked))
    yield "network, forward and backward", plain, fused
    model.eval()
    plain, fused = (partial(_evaluated, network, images, size) for network in (model, folded(model)))
    yield "network, evaluation", plain, fused


def truth(nums_objects: list[int], size: Size, device: torch.device) -> tuple[Tensor, Tensor]:
    """Boxes `[B, M, 4]` and labels `[B, M]` of images with so many objects each."""
    generator = torch.Generator().manual_seed(0)
    shape = len(nums_objects), max(nums_objects)
    sides = size.side * (0.02 + 0.5 * torch.rand(*shape, 2, generator=generator) ** 2)
    low = (size.side - sides) * torch.rand(*shape, 2, generator=generator)
    labels = torch.randint(size.num_classes, shape, generator=generator)
    is_padding = torch.arange(shape[1]) >= torch.tensor(nums_objects)[:, None]
    boxes = torch.cat((low, low + sides), dim=-1).masked_fill(is_padding[..., None], 0.0)
    return boxes.to(device), labels.masked_fill(is_padding, BACKGROUND).to(device)


def detector(size: Size) -> nn.Module:
    """That of the proxy task at the paper's setting, but for the width; the same at every call."""
    torch.manual_seed(0)
    return build_detector(
        SPINENET_49,
        num_classes=size.num_classes,
        num_anchors=anchors_per_cell(size.num_scales),
        filter_size_scale=size.width,
        resample_alpha=0.25,
        endpoints_num_filters=64,
        head_num_filters=64,
    )


def _loss_step(
    loss: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
    logits: Tensor,
    deltas: Tensor,
    classes: Tensor,
    codes: Tensor,
) -> None:
    torch.autograd.grad(loss(logits, deltas, classes, codes), (logits, deltas))


def _network_step(model: nn.Module, images: Tensor, size: Size) -> None:
    cls_logits, box_deltas = head_outputs(model.train(), images, size.precision)
    loss = cls_logits.float().square().mean() + box_deltas.float().square().mean()
    torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)  # of blocks that no output reads


def _evaluated(model: nn.Module, images: Tensor, size: Size) -> None:
    with torch.inference_mode():
        head_outputs(model, images, size.precision)


def _in_turn(plain: Work, fused: Work, num_rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each round of both, by turns, so that a drift of the machine affects both alike."""
    for work in (plain, fused):  # not counted: kernels are chosen and compiled
        work()
    stopwatch = Stopwatch(device)
    for _ in range(num_rounds):
        for name, work in (("plain", plain), ("fused", fused)):
            work()
            stopwatch(name)
    seconds: dict[str, list[float]] = {"plain": [], "fused": []}
    for phase in stopwatch.phases():
        seconds[phase.name].append(phase.seconds)
    return seconds


def _ms(seconds: list[float]) -> str:
    return f"{1e3 * median(seconds):.2f} ({1e3 * min(seconds):.2f} to {1e3 * max(seconds):.2f})"
