"""The loop of a long training: steps, checkpoints, measurements. Knows neither a ledger nor Ray."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from itertools import islice

import numpy as np
import torch
from torch import nn

from spinesearch.data.open import ProxyData
from spinesearch.models.gpu import folded, mark_for_gpu
from spinesearch.training.input.augment import Batch, draw
from spinesearch.training.input.batches import load_batches, shuffled_batches
from spinesearch.training.measure.task import Seen, joined, see_images, seen_scores
from spinesearch.training.optim.optimizer import FlatOptimizer, learning_rate
from spinesearch.training.process.group import ProcessGroup
from spinesearch.training.process.machine import fix_precision, keep_freed_memory, threads
from spinesearch.training.process.streams import AUGMENTATION, ORDER, stream_generator
from spinesearch.training.run.averaging import WeightAverage
from spinesearch.training.run.batch_step import BatchStep
from spinesearch.training.run.frozen import freeze, train_mode
from spinesearch.training.run.train_checkpoint import CheckpointError, TornCheckpointError, TrainCheckpoints
from spinesearch.training.run.train_settings import TrainSettings
from spinesearch.training.run.watcher import Measurement, Unwatched, Watcher
from spinesearch.training.step.divergence import LossWatch
from spinesearch.training.step.state import TrainingState
from spinesearch.training.targets.task_anchors import task_anchors


class Stopped(Exception):  # noqa: N818 - it says what happened
    """The training was asked to stop, and did so with its state on disk."""


class LongTraining:
    """A training that can be interrupted at any moment, and goes on from its newest checkpoint.

    Which images a step sees, how they are placed and what stochastic depth drops are functions of the seed
    and the step. On the CPU an interrupted training therefore ends bit-equal to an undisturbed one, with as
    many processes.

    Args:
        model: with its initial weights, on its final device.
        data: to train on, packed at the largest zoom or less; `ProxyData.scored` at `settings.image_size`.
        settings: how.
        seed: decides everything that is drawn.
        checkpoints: where the state is kept.
        group: the processes that train together, of which each has the same arguments.
        should_stop: asked between steps and between batches of a measurement.

    Raises:
        ValueError: the settings and the model do not fit together.
    """

    def __init__(
        self,
        model: nn.Module,
        data: ProxyData,
        settings: TrainSettings,
        *,
        seed: int,
        checkpoints: TrainCheckpoints,
        group: ProcessGroup,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        keep_freed_memory()
        self._model, self._data, self._settings = model, data, settings
        self._device = next(model.parameters()).device
        fix_precision(self._device)
        self._seed, self._group, self._should_stop = seed, group, should_stop
        self._checkpoints = checkpoints
        self._watcher: Watcher = Unwatched()
        self._num_images = len(data.train_index)
        self._recipe = settings.recipe(self._num_images)
        self._anchors = task_anchors(settings).to(self._device)
        is_on_gpu = self._device.type == "cuda"
        self._is_for_gpu = settings.kernels == "all" and is_on_gpu and not settings.needs_masks
        if self._is_for_gpu:
            mark_for_gpu(model)
        freeze(model, settings.frozen)
        self._optimizer = FlatOptimizer(model, self._recipe)
        self._average = (
            None if settings.average_decay is None else WeightAverage(model, settings.average_decay)
        )
        self._augmentation = stream_generator(seed, AUGMENTATION)
        self._saved: int | None = None
        self._last_measured = 0

    def run(self, watcher: Watcher | None, measured: Collection[int] = ()) -> None:
        """Train to the end.

        Args:
            watcher: told of it; None on all processes but the first.
            measured: numbers of steps after which the network has been measured already.

        Raises:
            Stopped: it was asked to; the state is on disk.
            TrainingDiverged: the loss or gradient stopped being finite; the newest checkpoint is from before.
            CheckpointError: the newest checkpoint is another training's, or there are some and none is whole.
        """
        self._watcher = watcher or Unwatched()
        cuda = [self._device] if self._device.type == "cuda" else []
        with threads(self._settings.num_threads), torch.random.fork_rng(devices=cuda):
            self._run(set(measured))

    def _run(self, measured: set[int]) -> None:
        num_steps = self._recipe.num_steps
        watch = LossWatch(self._device, self._tell_step)
        step = self._restore(watch)
        self._last_measured = max((done for done in measured if done < step), default=0)
        self._watcher.begun(step, num_steps)
        batch_step = BatchStep(
            self._model,
            self._anchors,
            self._recipe,
            self._optimizer,
            micro_batch_size=self._settings.micro_batch_size,
            group=self._group,
            seed=self._seed,
        )
        batches = self._batches(step)
        while True:
            is_stopping = self._group.any(self._should_stop())
            is_epoch = step > 0 and self._epoch(step) > self._epoch(step - 1)
            if is_stopping or is_epoch or step == num_steps:
                watch.finish()
                self._save(step, watch.losses)
            if is_stopping:
                raise Stopped
            if (step == num_steps or (is_epoch and self._is_due(step))) and step not in measured:
                self._measure(step, watch.losses)
            if step == num_steps:
                return
            train_mode(self._model, self._settings.frozen)
            self._optimizer.set_lr(learning_rate(step, self._recipe))
            draws = draw(self._recipe.batch_size, self._augmentation)[:, self._mine]
            loss, norm = batch_step.take(step, next(batches), draws)
            step += 1
            if self._average is not None:
                self._average.update(step)
            watch.watch(step - 1, loss, norm)

    @property
    def _mine(self) -> slice:
        """The rows of a batch that are this process's."""
        return slice(self._group.rank, None, self._group.size)

    def _batches(self, first: int) -> Iterator[Batch]:
        order = shuffled_batches(
            self._data.train_index,
            batch_size=self._recipe.batch_size,
            num_batches=self._recipe.num_steps,
            generator=stream_generator(self._seed, ORDER),
        )
        mine = (rows[self._mine] for rows in islice(order, first, None))
        return iter(load_batches(self._data, mine, self._device))

    def _epoch(self, step: int) -> int:
        return self._settings.epoch_of(step, self._num_images)

    def _is_due(self, step: int) -> bool:
        """Whether the epoch that ends here is one after which the network is measured."""
        every = self._settings.eval_every_epochs
        return self._epoch(step) // every > self._epoch(step - 1) // every

    def _tell_step(self, step: int, loss: float) -> None:
        self._watcher.stepped(step, loss, learning_rate(step, self._recipe))

    def _restore(self, watch: LossWatch) -> int:
        """Bring everything to the newest checkpoint that is whole; returns how many steps that has.

        The first process reads it for all of them: the others may be on machines that have none.
        """
        data = self._group.from_first(self._newest_state() if self._group.is_first else None)
        if data is None:
            return 0
        state = TrainingState.from_bytes(data)
        state.restore(self._model, self._optimizer, self._augmentation, self._device)
        if self._average is not None:
            self._average.load_state_dict(state.average)
        watch.losses += state.losses
        self._saved = state.step
        return state.step

    def _newest_state(self) -> bytes | None:
        """What the newest checkpoint that is whole holds; None if there are none at all."""
        for step in reversed(self._checkpoints.steps()):
            try:
                return self._checkpoints.load(step)
            except TornCheckpointError as error:
                self._watcher.warned(f"{error}; it is passed over for the one before it")
        if newest := max(self._checkpoints.steps(), default=0):
            raise CheckpointError(
                f"{self._checkpoints.path(newest)}: neither it nor an earlier one is whole; restore one "
                "from a copy, or remove them all to begin anew"
            )
        return None

    def _save(self, step: int, losses: list[float]) -> None:
        """Write a checkpoint; without room for it the earlier ones stay, and the training goes on."""
        if step == self._saved or not self._group.is_first:
            return
        state = TrainingState.of(self._model, self._optimizer, self._augmentation, losses, self._device)
        if self._average is not None:
            state.average.update(self._average.state_dict())
        try:
            self._checkpoints.save(step, state.to_bytes())
        except OSError as error:
            self._watcher.warned(
                f"{self._checkpoints.path(step)}: could not be written: {error.strerror or error}; the "
                "checkpoint before it stays, and the training goes on: make room"
            )
        else:
            self._saved = step
            self._watcher.saved(step)

    def _measure(self, step: int, losses: list[float]) -> None:
        with self._average.in_place() if self._average is not None else nullcontext():
            seen = self._see()
            if self._group.is_first:
                data = self._data.scored
                self._model.eval()
                measurement = Measurement(
                    step=step,
                    epoch=self._epoch(step),
                    loss=float(np.mean(losses[self._last_measured : step])),
                    scores=seen_scores(
                        data,
                        data.held_out_index,
                        seen,
                        evaluator=self._settings.evaluator,
                        num_threads=self._settings.num_threads,
                    ),
                )
                self._watcher.measured(measurement, self._model)
        self._last_measured = step

    def _see(self) -> Seen:
        """What the network makes of all validation images, of which each process looked at its share."""
        data = self._data.scored
        total = len(data.held_out_index)
        share = np.arange(total)[self._mine]

        def check_stop(num_done: int) -> None:
            if self._group.size == 1 and self._should_stop():  # several measure to the end together
                raise Stopped

        num_at_once = self._settings.micro_batch_size or max(1, self._recipe.batch_size // self._group.size)
        mine = None  # with fewer images than processes
        if len(share):
            mine = see_images(
                folded(self._model) if self._is_for_gpu else self._model,
                data,
                data.held_out_index[share],
                self._anchors,
                task=self._settings.task,
                batch_size=num_at_once,
                precision=self._recipe.precision,
                on_batch=check_stop,
            )
        shares, parts = zip(*self._group.gathered((share, mine)), strict=True)
        order = np.argsort(np.concatenate(shares))
        seen = [part for part in parts if part is not None]
        return joined(seen, order)
