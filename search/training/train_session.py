"""One process's part in a training: checks everything, then begins or resumes it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from spinesearch.data.open import ProxyData
from spinesearch.models.weights.description import described_cost
from spinesearch.models.weights.partial import fill_from
from spinesearch.results.ledger.run import Run
from spinesearch.search.config.config_errors import ConfigError
from spinesearch.search.estimate.line import recorded_steps
from spinesearch.search.runs.run_folder import open_new_ledger, open_run
from spinesearch.search.runs.stop_request import StopRequests
from spinesearch.search.scoring.scorer import EngineError
from spinesearch.search.session import run_event
from spinesearch.search.training.model_source import ModelSource
from spinesearch.search.training.prepare import another_model, prepare_training
from spinesearch.search.training.recorder import TrainRecorder
from spinesearch.search.training.train_config import (
    LR,
    TrainConfig,
    check_train_resumable,
    identity_settings,
    train_config,
)
from spinesearch.search.training.train_data import scored_data_warning
from spinesearch.search.training.train_display import TrainDisplay, TrainScalars
from spinesearch.search.warn import warn
from spinesearch.search.watchers.mirror_observer import send_rest
from spinesearch.training.process.group import ProcessGroup
from spinesearch.training.run.long_training import LongTraining, Stopped
from spinesearch.training.run.sync_norm import synchronize_norms
from spinesearch.training.run.train_checkpoint import TrainCheckpoints
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
        asked = threading.Event()  # to stop, by a request from elsewhere
        if group.is_first:
            run, ledger, mirror = open_run(config, run_dir, console)
            if ledger is not None:
                stack.enter_context(ledger)
                stack.enter_context(StopRequests(run_dir, mirror, console.print, asked.set))
        run = group.from_first(run)
        if run.sessions:
            check_resumed(run, run_dir, config)
            if is_complete(run):
                assert run.training is not None
                if source is not None and source.name != run.training["name"]:
                    raise ConfigError(another_model(run.training["name"], run_dir))
                console.print(f"{run_dir}: complete, all {last_step(run)} steps are taken", soft_wrap=True)
                if mirror is not None and ledger is not None:
                    send_rest(mirror, run_dir, ledger, lambda line: warn(console, line))
                return run
        ready = prepare_training(config, source, run, run_dir, console, group)
        data, model, description = ready.data, ready.model, ready.description
        checkpoints = TrainCheckpoints(run_dir, _identity(config, run, description, data))
        is_begun = group.from_first(bool(checkpoints.steps()))
        if config.init_from is not None and not is_begun:
            for line in fill_from(model, Path(config.init_from)).lines():
                console.print(f"init_from: {line}", soft_wrap=True)
        model.to(ready.device)
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
            should_stop=lambda: should_stop() or asked.is_set(),
        )
        recorder = None
        if group.is_first:
            event = run_event(config, data) | {
                "training": {
                    **ready.source_record,
                    "model": description,
                    "cost": _cost(description, config.train.image_size),
                    "num_steps": num_steps,
                }
            }
            if warning := scored_data_warning(ready.source_record["source"], config.data):
                display.warned(warning)
            if ledger is None:
                ledger = stack.enter_context(open_new_ledger(run_dir, console))
                stack.enter_context(StopRequests(run_dir, mirror, console.print, asked.set))
            ledger.append([event])
            run.apply(event)
            console.print(f"{run_dir}: {_headline(run, data)}", soft_wrap=True)
            if (known := recorded_steps(run_dir, run)) is not None:
                display.estimated(*known)
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
            goes_on = (
                f"the last good checkpoint is {newest}; go on from there"
                if newest
                else "there is no checkpoint from before; begin again"
            )
            rate = f"a smaller {LR}, as {config.train.lr / 2:g}"
            raise EngineError(f"{error}; {goes_on} with {rate}") from error
    return run


def is_complete(run: Run) -> bool:
    """Whether all steps of a training are taken, and the network at their end is measured and kept."""
    return any(event["step"] == last_step(run) for event in run.measurements)


def last_step(run: Run) -> int:
    """Number of steps of the whole training."""
    assert run.training is not None
    return int(run.training["num_steps"])


def check_resumed(run: Run, run_dir: Path, config: TrainConfig) -> None:
    """Check that what a folder holds may be continued with a configuration.

    Raises:
        ConfigError: it is no training, or another one.
    """
    if run.training is None:
        raise ConfigError(f"name: {run_dir} holds a search or a study; choose another name")
    recorded = train_config(run.config)
    check_train_resumable(recorded, config, has_diverged=run.divergence is not None)


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
