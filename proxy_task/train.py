"""Training of one candidate: the step, the loop, and batch normalisation's statistics after it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from spinesearch.proxy_task.augment import Batch, draw_placement, normalize, place
from spinesearch.proxy_task.divergence import LossWatch
from spinesearch.proxy_task.losses import detection_loss
from spinesearch.proxy_task.matching import make_targets
from spinesearch.proxy_task.optim import FlatOptimizer, learning_rate
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.proxy_task.stopwatch import Lap, no_lap

# Of a training step, in order: waiting for the batch, and what is done with it. The last one ends when its
# loss and gradient are known to be finite.
STEP_PHASES = ("data", "augmentation", "targets", "forward", "loss", "backward", "optimizer")


def train(
    model: nn.Module,
    batches: Iterable[Batch],
    anchors: Tensor,
    settings: ProxySettings,
    *,
    num_steps: int,
    generator: torch.Generator,
    on_step: Callable[[int, float], None] | None = None,
    lap: Lap = no_lap,
) -> float:
    """Mean loss over the last tenth of training; the model is trained in place and left in training mode.

    Args:
        model: images `[B, 3, S, S]` to class logits `[B, A, K]` and box codes `[B, A, 4]`.
        batches: exactly `num_steps` of them, uint8, on the model's device.
        anchors: `[A, 4]`, xyxy pixels, on the same device.
        settings: the recipe.
        num_steps: length of training.
        generator: decides the augmentation; on the CPU.
        on_step: called with (step, loss) of every step, on CUDA when the next one has been queued.
        lap: called at the end of each of `STEP_PHASES`, in that order, in every step.

    Raises:
        TrainingDiverged: at once on the CPU, when the next step has been queued on CUDA.
    """
    optimizer = FlatOptimizer(model, settings)
    watch = LossWatch(anchors.device, on_step)
    model.train()
    for step, raw in enumerate(batches):
        lap("data")
        batch = _augment(raw, settings, generator)
        lap("augmentation")
        classes, codes = make_targets(anchors, batch.boxes, batch.labels)
        lap("targets")
        cls_logits, box_deltas = predict(model, batch.images, settings)
        lap("forward")
        loss = detection_loss(cls_logits, box_deltas, classes, codes)
        lap("loss")
        torch.autograd.backward(loss)
        lap("backward")
        norm = optimizer.step(learning_rate(step, num_steps, settings))
        watch.watch(step, loss, norm)
        lap("optimizer")
    watch.finish()
    return float(torch.tensor(watch.losses[-max(1, num_steps // 10) :]).mean())


def recalibrate_batch_norm(model: nn.Module, batches: Iterable[Batch], settings: ProxySettings) -> None:
    """Replace the running statistics of batch normalisation by plain averages over these uint8 batches.

    After a short training the running averages still remember weights long gone; with a momentum of 0.003
    they hardly left their start. Everything but batch normalisation runs as in evaluation.

    Args:
        model: left in evaluation mode.
        batches: at least one.
        settings: its precision is that of the passes.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the cumulative average
        norm.train()
    with torch.no_grad():
        for raw in batches:
            predict(model, normalize(raw).images, settings)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def predict(model: nn.Module, images: Tensor, settings: ProxySettings) -> tuple[Tensor, Tensor]:
    """Class logits `[B, A, K]` and box codes `[B, A, 4]` of normalised images, in the settings' precision.

    The features lie channels last in memory, which takes a quarter off the step on the CPU.
    """
    with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=settings.precision == "bfloat16"):
        cls_logits, box_deltas = model(images.contiguous(memory_format=torch.channels_last))
    return cls_logits, box_deltas


def _augment(raw: Batch, settings: ProxySettings, generator: torch.Generator) -> Batch:
    """The normalised batch, mirrored and zoomed at random."""
    batch = normalize(raw)
    if not settings.flip and settings.scale_jitter == (1.0, 1.0):
        return batch
    placement = draw_placement(
        batch.content,
        batch.images.shape[-1],
        flip=settings.flip,
        scale_jitter=settings.scale_jitter,
        generator=generator,
    )
    return place(batch, placement)
