"""One process's part in a training: checks everything, then begins or resumes it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from spinesearch.data.open import ProxyData
from spinesearch.models.heads.retinanet import RetinaNet
from spinesearch.models.weights.description import build_described, describe, described_cost
from spinesearch.models.weights.partial import fill_from
from spinesearch.results.ledger.run import Run
from spinesearch.search.config.config_errors import ConfigError
from spinesearch.search.runs.run_folder import open_new_ledger, open_run
from spinesearch.search.scoring.scorer import EngineError
from spinesearch.search.session import check_same_data, run_event
from spinesearch.search.training.model_source import ModelSource, build_source
from spinesearch.search.training.recorder import TrainRecorder
from spinesearch.search.training.train_config import (
    LR,
    TrainConfig,
    check_train_resumable,
    identity_settings,
    train_config,
)
from spinesearch.search.training.train_data import open_shared_data, scored_data_warning
from spinesearch.search.training.train_display import TrainDisplay, TrainScalars
from spinesearch.search.watchers.mirror_observer import send_rest
from spinesearch.training.measure.evaluators import find_evaluator
from spinesearch.training.process.group import ProcessGroup
from spinesearch.training.process.machine import find_device
from spinesearch.training.process.streams import INIT, seed_global, stream_seed
from spinesearch.training.run.batch_step import num_micro_batches
from spinesearch.training.run.long_training import LongTraining, Stopped
from spinesearch.training.run.sync_norm import synchronize_norms
from spinesearch.training.run.train_checkpoint import TrainCheckpoints
from spinesearch.training.setting_rules import MAX_LEVEL_STRIDE
from spinesearch.training.step.divergence import TrainingDiverged


def carry_out_training(
    config: TrainConfig,
    source: ModelSource | None,
    run_dir: Path,
    console: Console,
    *,
    group: ProcessGroup,
    should_stop: Callable[[], bool],
) -> Run:
    """Begin the training in a folder, or resume the one that is there; returns its run, complete.

    Everything that can be wrong is checked before anything is written.

    Args:
        config: what is wanted; of a training that exists already it may change only how it is carried out.
        source: what to train; None for what the run trains.
        run_dir: the run's folder.
        console: for progress; the first process's alone is seen.
        group: the processes that train together.
        should_stop: whether the training is to stop at the next step.

    Raises:
        ConfigError, DataError, LedgerError, CheckpointError: something the user gave cannot be used.
        EngineError: the loss was not finite.
        KeyboardInterrupt: it was asked to stop, and its state is on disk.
    """
    with contextlib.ExitStack() as stack:
        run, ledger, mirror = Run(), None, None
        if group.is_first:
            run, ledger, mirror = open_run(config, run_dir, console)
            if ledger is not None:
                stack.enter_context(ledger)
        run = group.from_first(run)
        if run.sessions:
            _check_resumed(run, run_dir, config)
            if is_complete(run):
                console.print(f"{run_dir}: complete, all {last_step(run)} steps are taken", soft_wrap=True)
                if mirror is not None and ledger is not None:
                    send_rest(mirror, run_dir, ledger, lambda line: console.print(f"warning: {line}"))
                return run
        _check_settings(config, group)
        device = find_device(config.train.device, "train.device")
        data = open_shared_data(config, console, group)
        if run.sessions:
            check_same_data(run.sessions[0]["data"], data)
        model, source_record = _build(config, source, run, data, run_dir)
        description = describe(model)
        checkpoints = TrainCheckpoints(run_dir, _identity(config, run, description, data))
        is_begun = group.from_first(bool(checkpoints.steps()))
        if config.init_from is not None and not is_begun:
            for line in fill_from(model, Path(config.init_from)).lines():
                console.print(f"init_from: {line}", soft_wrap=True)
        model.to(device)
        if group.size > 1:
            synchronize_norms(model)
        num_steps = config.train.training_steps(len(data.train_index))
        display = TrainDisplay(console, batch_size=config.train.batch_size, num_images=len(data.train_index))
        training = LongTraining(
            model,
            data,
            config.train,
            seed=config.seed,
            checkpoints=checkpoints,
            group=group,
            should_stop=should_stop,
        )
        recorder = None
        if group.is_first:
            event = run_event(config, data) | {
                "training": {
                    **source_record,
                    "model": description,
                    "cost": _cost(description, config.train.image_size),
                    "num_steps": num_steps,
                }
            }
            if warning := scored_data_warning(source_record["source"], config.data):
                display.warned(warning)
            if ledger is None:
                ledger = stack.enter_context(open_new_ledger(run_dir, console))
            ledger.append([event])
            run.apply(event)
            console.print(f"{run_dir}: {_headline(run, data)}", soft_wrap=True)
            recorder = TrainRecorder(
                run,
                ledger,
                run_dir,
                num_steps=num_steps,
                display=display,
                scalars=TrainScalars(run_dir),
                mirror=mirror,
            )
            stack.callback(recorder.ended)
        try:
            training.run(recorder, {event["step"] for event in run.measurements})
        except Stopped:
            raise KeyboardInterrupt from None
        except TrainingDiverged as error:
            steps = checkpoints.steps()
            newest = checkpoints.path(steps[-1]) if steps else None
            if recorder is not None:
                recorder.diverged(error.step, newest)
            good = f"the last good checkpoint is {newest}" if newest else "there is no checkpoint from before"
            raise EngineError(
                f"{error}; {good}; go on from there with a smaller rate, {LR}={config.train.lr / 2:g}"
            ) from error
    return run


def is_complete(run: Run) -> bool:
    """Whether all steps of a training are taken, and the network at their end is measured and kept."""
    return any(event["step"] == last_step(run) for event in run.measurements)


def last_step(run: Run) -> int:
    """Number of steps of the whole training."""
    assert run.training is not None
    return int(run.training["num_steps"])


def _check_resumed(run: Run, run_dir: Path, config: TrainConfig) -> None:
    if run.training is None:
        raise ConfigError(f"name: {run_dir} holds a search or a study; choose another name")
    recorded = train_config(run.config)
    check_train_resumable(recorded, config, has_diverged=run.divergence is not None)


def _check_settings(config: TrainConfig, group: ProcessGroup) -> None:
    find_evaluator(config.train.evaluator, "train.evaluator")
    smallest, largest = config.train.batch_size // group.size, -(-config.train.batch_size // group.size)
    num_parts = num_micro_batches(largest, config.train.micro_batch_size)
    if smallest < num_parts:
        raise ConfigError(
            f"train.batch_size: {config.train.batch_size} images leave one of {group.size} processes with "
            f"{smallest} for the {num_parts} parts of a step; give a larger batch_size or micro_batch_size, "
            "or fewer processes"
        )
    if group.size == 1 and smallest // num_parts == 1 and config.train.image_size == MAX_LEVEL_STRIDE:
        raise ConfigError(
            f"train.batch_size: at image_size {MAX_LEVEL_STRIDE} at least 2 images must pass through the net "
            "at once, for batch normalisation needs two values per channel; give a larger batch_size, "
            "micro_batch_size or image_size"
        )


def _build(
    config: TrainConfig, source: ModelSource | None, run: Run, data: ProxyData, run_dir: Path
) -> tuple[RetinaNet, dict[str, Any]]:
    """The detector with its initial weights on the CPU, and what the ledger says of where it comes from."""
    import torch

    with torch.random.fork_rng(devices=[]):
        seed_global(stream_seed(config.seed, INIT), torch.device("cpu"))
        if run.training is not None:
            model = build_described(run.training["model"])
            assert isinstance(model, RetinaNet)
            if source is not None and describe(
                build_source(source, config.train, data.class_names)
            ) != describe(model):
                raise ConfigError(
                    f"name: {run_dir} trains another model ({run.training['name']}); choose another name"
                )
            return model, {"name": run.training["name"], "source": dict(run.training["source"])}
        assert source is not None
        model = build_source(source, config.train, data.class_names)
        return model, {"name": source.name, "source": dict(source.origin)}


def _identity(
    config: TrainConfig, run: Run, description: Mapping[str, Any], data: ProxyData
) -> dict[str, Any]:
    """Whose checkpoints may be gone on from."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:12]
    identity = {
        "model": f"{description['name']} ({digest})",
        "classes": list(data.class_names),
        "data": data.key,
        **identity_settings(config),
    }
    # After a divergence the rate may change, and the checkpoint is from before that.
    if len({session["config"]["train"]["lr"] for session in run.sessions} | {config.train.lr}) > 1:
        del identity[LR]
    return identity


def _cost(description: Mapping[str, Any], image_size: int) -> dict[str, int]:
    cost = described_cost(description, image_size)
    return {"parameters": cost.parameters, "multiply_adds": cost.multiply_adds}


def _headline(run: Run, data: ProxyData) -> str:
    training = run.training
    assert training is not None
    cost = training["cost"]
    return (
        f"{training['name']}, {cost['parameters'] / 1e6:.2f} M parameters, "
        f"{cost['multiply_adds'] / 1e9:.2f} B multiply-adds; {training['num_steps']} steps on "
        f"{len(data.train_index)} images packed at {data.pack.images.shape[1]} px, "
        f"{len(data.scored.held_out_index)} to validate on, {data.num_classes} classes"
    )
