"""A training that is not started: everything checked as if it were, and what it would take."""

from __future__ import annotations

import contextlib
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from spinesearch.models.weights.partial import fill_from
from spinesearch.results.ledger.run import Run
from spinesearch.search.config.config_errors import ConfigError
from spinesearch.search.estimate.estimate import Estimate, Part, Stated, stated_gpus_note
from spinesearch.search.estimate.planned import begun_run
from spinesearch.search.runs.run_folder import planned_dir
from spinesearch.search.scoring.proxy_score import few_held_out
from spinesearch.search.training.model_source import ModelSource
from spinesearch.search.training.prepare import PreparedTraining, prepare_training
from spinesearch.search.training.train_config import TrainConfig
from spinesearch.search.training.train_data import scored_data_warning
from spinesearch.search.training.train_session import check_resumed
from spinesearch.search.warn import warn
from spinesearch.training.measure.task import see_images
from spinesearch.training.process.group import ProcessGroup
from spinesearch.training.process.machine import threads
from spinesearch.training.run.frozen import freeze
from spinesearch.training.run.long_training import LongTraining, Stopped
from spinesearch.training.run.train_checkpoint import TrainCheckpoints
from spinesearch.training.run.train_settings import TrainSettings
from spinesearch.training.run.watcher import Unwatched
from spinesearch.training.step.divergence import TrainingDiverged
from spinesearch.training.targets.task_anchors import task_anchors

USUAL_WORKERS = (1, 8)  # GPUs, the last being one machine
_NUM_WARMUP_STEPS = 2
_MIN_EVALUATED = 16  # images


def planned_training(config: TrainConfig, source: ModelSource, console: Console, stated: Stated) -> Estimate:
    """What is left of a training as its command would carry it out.

    Data are opened, and packed into the cache if they are not; nothing else is written or started, but for
    the few steps that are measured.

    Raises:
        ConfigError, DataError, CheckpointError: the command would fail.
    """
    run_dir = planned_dir(config)
    if config.search.num_workers is not None:
        from spinesearch.search.workers.ray_cluster import check_address

        check_address(config.search.ray_address)
    run = begun_run(config, run_dir)
    if run.sessions:
        check_resumed(run, run_dir, config)
    ready = prepare_training(config, source, run, run_dir, console, ProcessGroup())
    # A run that lies in a mirror has its checkpoints there; its ledger has the steps that were measured.
    recorded = (event["step"] for event in run.measurements)
    done = max((*TrainCheckpoints(run_dir, {}).steps(), *recorded), default=0)
    if config.init_from is not None and not done:
        for line in fill_from(ready.model, Path(config.init_from)).lines():
            console.print(f"init_from: {line}", soft_wrap=True)
    freeze(ready.model, config.train.frozen)
    if warning := scored_data_warning(ready.source_record["source"], config.data):
        warn(console, warning)
    settings, num_images = config.train, len(ready.data.train_index)
    num_val_images = len(ready.data.scored.held_out_index)
    num_steps = settings.training_steps(num_images)
    is_cuda = ready.device.type == "cuda"
    if stated.seconds is not None:
        step_s, image_s, pace = stated.seconds, None, f"{stated.seconds:g} s a step, as stated"
        is_cuda = config.train.device != "cpu"
    elif config.search.num_workers is None:
        console.print(f"measuring {stated.num_steps} steps here")
        step_s, image_s = _measured(ready, config, stated.num_steps)
        pace = f"measured here: {stated.num_steps} steps"
    else:
        step_s, image_s, is_cuda = _measured_by_worker(config, source, run, console, stated.num_steps)
        pace = f"measured on a worker of {config.search.ray_address}: {stated.num_steps} steps of its share"
    parts = [Part(name="steps", count=num_steps - done, seconds=step_s)]
    measured = [step for step in _measured_steps(settings, num_images) if step > done]
    if image_s is not None:
        seconds = num_val_images * image_s
        parts.append(Part(name="measurements", count=len(measured), seconds=seconds))
    notes = ["workers share a step and a measurement evenly"]
    if image_s is None:
        notes.append(f"the {len(measured)} measurements on {num_val_images} images come on top")
    if stated.seconds is not None and is_cuda:
        notes.append(stated_gpus_note(1, "train.device=cpu"))
    name = run.training["name"] if run.training is not None else source.name
    return Estimate(
        what=f"{name}: {num_steps - done} steps of {settings.batch_size} images, "
        f"{settings.num_epochs:g} epochs of {num_images}{f', {done} steps being done' if done else ''}",
        parts=tuple(parts),
        pace=pace,
        gpus_per_worker=float(is_cuda),
        notes=tuple(notes),
    )


def _measured_steps(settings: TrainSettings, num_images: int) -> list[int]:
    """After which steps the network is measured."""
    num_steps = settings.training_steps(num_images)
    every = settings.eval_every_epochs
    epochs = range(every, settings.epoch_of(num_steps, num_images), every)
    return sorted({*(-(-epoch * num_images // settings.batch_size) for epoch in epochs), num_steps})


class _Clock(Unwatched):
    """A watcher that notes when steps end."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def begun(self, step: int, num_steps: int) -> None:
        """The first step begins."""
        self.times.append(time.perf_counter())

    def stepped(self, step: int, loss: float, lr: float) -> None:
        """A step ends."""
        self.times.append(time.perf_counter())


def _measured_by_worker(
    config: TrainConfig, source: ModelSource, run: Run, console: Console, num_steps: int
) -> tuple[float, float, bool]:
    """As `_measured`, on a worker of Ray and with its share of a batch; and whether that has a GPU."""
    import ray
    from ray.exceptions import RayTaskError

    from spinesearch.search.training.ray_training import worker_resources
    from spinesearch.search.workers.ray_cluster import connected

    num_workers = config.search.num_workers
    assert num_workers is not None
    with connected(config.search.ray_address, num_cpus=num_workers * config.train.num_threads):
        needs = worker_resources(config, console)
        console.print(f"measuring {num_steps} steps of a worker's share; a worker needs {needs}")
        task: Any = ray.remote(_measure_there).options(max_retries=0, **needs.actor_options())
        try:
            share_s, image_s = ray.get(task.remote(config, source, run, num_steps))
        except RayTaskError as error:
            raise ConfigError(" ".join(str(error.cause).split())) from error
    return share_s * config.train.batch_size / _share(config), image_s, needs.gpus > 0


def _measure_there(config: TrainConfig, source: ModelSource, run: Run, num_steps: int) -> tuple[float, float]:
    """`_measured` of a worker's share, by a worker."""
    settings = replace(config.train, batch_size=_share(config))
    console = Console(quiet=True)
    ready = prepare_training(config, source, run, planned_dir(config), console, ProcessGroup())
    return _measured(ready, replace(config, train=settings), num_steps)


def _share(config: TrainConfig) -> int:
    """Images of a batch that each worker takes, at most."""
    return -(-config.train.batch_size // (config.search.num_workers or 1))


def _measured(ready: PreparedTraining, config: TrainConfig, num_steps: int) -> tuple[float, float]:
    """Seconds of a step, and of looking at a validation image."""
    import torch

    # No measurement among the steps: the network is measured below.
    settings = replace(config.train, eval_every_epochs=10**9)
    clock = _Clock()
    model: nn.Module = ready.model.to(ready.device)
    try:
        with tempfile.TemporaryDirectory() as folder:
            training = LongTraining(
                model,
                ready.data,
                settings,
                seed=config.seed,
                checkpoints=TrainCheckpoints(Path(folder), {}),
                group=ProcessGroup(),
                should_stop=lambda: len(clock.times) > _NUM_WARMUP_STEPS + num_steps,
            )
            with contextlib.suppress(Stopped):
                training.run(clock)
        data = ready.data.scored
        index = few_held_out(data, max(_MIN_EVALUATED, settings.batch_size))
        anchors = task_anchors(settings).to(ready.device)
        begin = time.perf_counter()
        with threads(settings.num_threads):
            see_images(
                model,
                data,
                index,
                anchors,
                task=settings.task,
                batch_size=settings.micro_batch_size or settings.batch_size,
                precision=settings.precision,
            )
        evaluation_s = time.perf_counter() - begin
    except TrainingDiverged as error:
        raise ConfigError(f"train.lr: {error}; give a smaller one") from error
    except torch.OutOfMemoryError as error:
        raise ConfigError(
            f"train.batch_size: {settings.batch_size} images do not fit this device's memory; set "
            "train.micro_batch_size"
        ) from error
    first = min(_NUM_WARMUP_STEPS, len(clock.times) - 2)
    steps = len(clock.times) - 1 - first
    return (clock.times[-1] - clock.times[first]) / steps, evaluation_s / len(index)
