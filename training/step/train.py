"""Training of one candidate: the step, the loop, and batch normalisation's statistics after it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from spinesearch.models.heads.predict import head_outputs, network_output
from spinesearch.models.mask_rcnn.detector import MaskRCNN
from spinesearch.training.input.augment import Batch, draw, normalize, place, placement_of
from spinesearch.training.input.device_pack import DevicePack
from spinesearch.training.measure.curve import last_tenth
from spinesearch.training.optim.optimizer import FlatOptimizer, learning_rate
from spinesearch.training.process.stopwatch import Lap, no_lap
from spinesearch.training.recipe import CLASSIFICATION, Recipe
from spinesearch.training.step.captured_step import CapturedStep, GraphSession, Outputs, StepInputs
from spinesearch.training.step.divergence import LossWatch
from spinesearch.training.step.lean import LeanPass, is_lean
from spinesearch.training.step.mask_step import mask_rcnn_loss
from spinesearch.training.step.state import TrainingState
from spinesearch.training.targets.forms import step_forms
from spinesearch.training.targets.losses import classification_loss, loss_weight

# Of a training step, in order: waiting for the batch, and what is done with it. The last one ends when its
# loss and gradient are known to be finite.
STEP_PHASES = ("data", "augmentation", "targets", "forward", "loss", "backward", "optimizer")
# The same of a step in a graph, whose parts cannot be seen from outside.
GRAPH_PHASES = ("data", "graph")


def train(
    model: nn.Module,
    batches: Iterable[Batch],
    anchors: Tensor,
    recipe: Recipe,
    *,
    generator: torch.Generator,
    on_step: Callable[[int, float], None] | None = None,
    lap: Lap = no_lap,
    session: GraphSession | None = None,
    pack: DevicePack | None = None,
    start: TrainingState | None = None,
    state_at: int | None = None,
    on_state: Callable[[TrainingState], None] | None = None,
) -> float:
    """Mean loss over the last tenth of training; the model is trained in place and left in training mode.

    Args:
        model: images `[B, 3, S, S]` to class logits `[B, A, K]` and box codes `[B, A, 4]`; a classifier to
            logits `[B, K]`.
        batches: as many as there are steps to take, uint8, of equal size; for a model on CUDA in pinned
            memory or there already.
        anchors: `[A, 4]`, xyxy pixels, on the model's device; of a classifier none, `[0, 4]`.
        recipe: how.
        generator: decides the augmentation; on the CPU.
        on_step: called with (step, loss) of every step, on CUDA when the next one has been queued.
        lap: called at the end of each of `STEP_PHASES`, in that order, in every step; of `GRAPH_PHASES` with
            a session.
        session: of the graphs in which steps are captured, None for eager steps. The steps are the same.
        pack: holds the images, of which the batches then hold the numbers; None where they hold the images.
        start: where to go on from, None for the beginning. The steps that follow, and the loss, are those of
            a training that was never interrupted: bit for bit on the CPU.
        state_at: number of steps, counted from the beginning, after which ``on_state`` is called.
        on_state: receives the state then.

    Raises:
        TrainingDiverged: at once on the CPU, when the next step has been queued on CUDA.
        CaptureFailed: a step could not be captured; never without a session.
    """
    device = anchors.device
    with ExitStack() as stack:
        new_graph = stack.enter_context(session()) if session is not None else None
        optimizer = FlatOptimizer(model, recipe)
        watch = LossWatch(device, on_step)
        lean: Callable[[], AbstractContextManager[None]] = nullcontext
        if is_lean(recipe.kernels, device):
            lean = LeanPass(model, optimizer, recipe.precision)
        first = 0
        if start is not None:
            start.restore(model, optimizer, generator, device)
            watch.losses += start.losses
            first = start.step
        work = partial(
            _step,
            model=model,
            anchors=anchors,
            recipe=recipe,
            optimizer=optimizer,
            pack=pack,
            lean=lean,
            lap=lap if new_graph is None else no_lap,
        )
        captured = None if new_graph is None else CapturedStep(work, new_graph, device)
        last_phase = STEP_PHASES[-1] if captured is None else GRAPH_PHASES[-1]
        model.train()
        for step, batch in enumerate(batches, first):
            draws = draw(len(batch.images), generator)
            if device.type == "cuda":
                draws = draws.pin_memory()
            optimizer.set_lr(learning_rate(step, recipe))
            if captured is None:
                inputs = StepInputs(batch.to(device), draws.to(device, non_blocking=True))
                lap("data")
                loss, norm = work(inputs)
            else:
                rows = captured.load(batch, draws)
                lap("data")
                loss, norm = captured.run(rows)
            watch.watch(step, loss, norm)
            lap(last_phase)
            if step + 1 == state_at and on_state is not None:
                watch.finish()
                on_state(TrainingState.of(model, optimizer, generator, watch.losses, device))
        watch.finish()
    return last_tenth(watch.losses)


def _step(
    inputs: StepInputs,
    *,
    model: nn.Module,
    anchors: Tensor,
    recipe: Recipe,
    optimizer: FlatOptimizer,
    pack: DevicePack | None,
    lean: Callable[[], AbstractContextManager[None]],
    lap: Lap,
) -> Outputs:
    """Loss and gradient norm of one step, which is taken. Nothing here may make the processor wait."""
    if pack is not None:
        inputs = inputs._replace(batch=pack.with_images(inputs.batch))
    with lean():
        loss, _ = batch_loss(inputs, model=model, anchors=anchors, recipe=recipe, lap=lap)
    torch.autograd.backward(loss)
    lap("backward")
    return loss.detach(), optimizer.step()


def batch_loss(
    inputs: StepInputs, *, model: nn.Module, anchors: Tensor, recipe: Recipe, lap: Lap = no_lap
) -> tuple[Tensor, Tensor]:
    """Loss of a batch under augmentation, and by what it was divided; scalars.

    That is `loss_weight`, or the number of images that are classified or that a Mask R-CNN looks at.
    """
    batch = _augment(inputs, recipe)
    lap("augmentation")
    if isinstance(model, MaskRCNN):
        loss = mask_rcnn_loss(model, batch, anchors, recipe, lap)
        return loss, loss.detach().new_full((), float(len(batch.images)))
    if recipe.task == CLASSIFICATION:
        labels = inputs.batch.labels[:, 0]  # a crop of an image is of its class
        lap("targets")
        logits = network_output(model, batch.images, recipe.precision)
        lap("forward")
        loss = classification_loss(logits, labels, label_smoothing=recipe.label_smoothing)
        lap("loss")
        return loss, loss.detach().new_full((), float(len(labels)))
    forms = step_forms(recipe.kernels, anchors.device)
    classes, codes = forms.make_targets(anchors, batch.boxes, batch.labels)
    lap("targets")
    cls_logits, box_deltas = head_outputs(model, batch.images, recipe.precision)
    lap("forward")
    loss = forms.detection_loss(cls_logits, box_deltas, classes, codes)
    lap("loss")
    return loss, loss_weight(classes)


def recalibrate_batch_norm(
    model: nn.Module, batches: Iterable[Batch], anchors: Tensor, recipe: Recipe
) -> None:
    """Replace the running statistics of batch normalisation by plain averages over these uint8 batches.

    After a short training the running averages still remember weights long gone; with a momentum of 0.003
    they hardly left their start. Everything but batch normalisation runs as in evaluation.

    Args:
        model: left in evaluation mode.
        batches: at least one.
        anchors: `[A, 4]`, on the model's device; a Mask R-CNN's regions are drawn as in training.
        recipe: its precision, and how regions are drawn.
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
            batch = normalize(raw)
            if isinstance(model, MaskRCNN):
                mask_rcnn_loss(model, batch, anchors, recipe)
            else:
                network_output(model, batch.images, recipe.precision)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def _augment(inputs: StepInputs, recipe: Recipe) -> Batch:
    """The normalised batch, mirrored and zoomed as the draws say."""
    batch, side = normalize(inputs.batch), recipe.image_size
    if not recipe.flip and recipe.scale_jitter == (1.0, 1.0) and batch.images.shape[-1] == side:
        return batch
    placement = placement_of(
        inputs.draws,
        batch.content,
        side,
        flip=recipe.flip,
        scale_jitter=recipe.scale_jitter,
        shrink=side / batch.images.shape[-1],
    )
    return place(batch, placement, side)
