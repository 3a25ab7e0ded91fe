"""One optimiser step over a batch that may be more than passes through the network at once: `BatchStep`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from spinesearch.models.mask_rcnn.detector import MaskRCNN
from spinesearch.training.input.augment import Batch
from spinesearch.training.optim.optimizer import FlatOptimizer
from spinesearch.training.process.group import ProcessGroup
from spinesearch.training.process.streams import DEPTH, seed_global, stream_seed
from spinesearch.training.recipe import CLASSIFICATION, Recipe
from spinesearch.training.step.captured_step import StepInputs
from spinesearch.training.step.train import batch_loss


def num_micro_batches(num_images: int, most: int | None) -> int:
    """Into how many parts of nearly equal size a process's share of a batch is split.

    Args:
        num_images: of the share.
        most: images at once; None for all of them.
    """
    return 1 if most is None else -(-num_images // most)


class BatchStep:
    """Gradients summed over micro-batches and processes, then one step.

    Each part's loss is divided by the anchors that match in that part (a classifier's by its images); its
    gradient is therefore multiplied by them, and the sum divided by those of the whole batch, so that the
    step is that of the whole batch at once, but for batch normalisation, which sees a micro-batch, and for
    rounding.

    Args:
        model: on its final device.
        anchors: `[A, 4]`, on that device; of a classifier none.
        recipe: how.
        optimizer: of the model.
        micro_batch_size: most images at once; None for as many as a call brings.
        group: the processes that train together.
        seed: of the training; decides stochastic depth.
    """

    def __init__(
        self,
        model: nn.Module,
        anchors: Tensor,
        recipe: Recipe,
        optimizer: FlatOptimizer,
        *,
        micro_batch_size: int | None,
        group: ProcessGroup,
        seed: int,
    ) -> None:
        self._model = model
        self._anchors = anchors
        self._recipe = recipe
        self._optimizer = optimizer
        self._micro_batch_size = micro_batch_size
        self._group = group
        self._seed = seed
        # What a part's weight has besides what is counted in it: `loss_weight` adds one.
        self._extra = 0 if recipe.task == CLASSIFICATION or isinstance(model, MaskRCNN) else 1

    def take(self, step: int, batch: Batch, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and gradient norm of a step, which is taken: of the whole batch, equal on all processes.

        Args:
            step: its number.
            batch: this process's rows of the batch, uint8; at least one for each part.
            draws: theirs, `[4, B]` of `augment.draw`.
        """
        device = self._anchors.device
        seed_global(stream_seed(self._seed, DEPTH, step, self._group.rank), device)
        # Of the largest share: processes normalise together, so that each has as many parts as any other.
        largest = -(-self._recipe.batch_size // self._group.size)
        num_parts = num_micro_batches(largest, self._micro_batch_size)
        totals = torch.zeros(2, device=device)  # of losses times weights, and of what they count
        for rows in np.array_split(np.arange(len(batch.images)), num_parts):
            part = slice(rows[0], rows[-1] + 1)
            inputs = StepInputs(
                batch.part(part).to(device),
                draws[:, part].to(device, non_blocking=True),
            )
            loss, weight = batch_loss(inputs, model=self._model, anchors=self._anchors, recipe=self._recipe)
            torch.autograd.backward(loss * weight)
            totals += torch.stack((loss.detach() * weight, weight - self._extra))

        def combine(grads: list[Tensor]) -> None:
            self._group.add([*grads, totals])
            for grad in grads:
                grad.div_(totals[1] + self._extra)

        norm = self._optimizer.step(combine)
        return totals[0] / (totals[1] + self._extra), norm
