"""A training on workers that Ray Train places: `train_on_ray`.

Ray Train gives each worker its place, its GPU and the process group; checkpoints, data order and what is
recorded are those of a training without Ray. If a worker is lost, all are started again, and go on from the
newest checkpoint in the run's folder or its mirror.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError
from rich.console import Console

from spinesearch.results.ledger.run import Run
from spinesearch.search.config.config_errors import ConfigError
from spinesearch.search.environment import CodeVersion, code_difference, code_version
from spinesearch.search.scoring.scorer import EngineError
from spinesearch.search.training.model_source import ModelSource
from spinesearch.search.training.ray_relay import Ending, RelayedText, StopAsked, start_relay
from spinesearch.search.training.train_config import TrainConfig
from spinesearch.search.training.train_session import carry_out_training
from spinesearch.search.warn import warn
from spinesearch.search.workers.ray_cluster import connected
from spinesearch.search.workers.ray_errors import why_lost
from spinesearch.search.workers.trial_resources import TrialResources, cluster_nodes, cluster_resources
from spinesearch.training.process.group import PATIENCE, ProcessGroup, backend

_POLL_S = 0.5
# Of Ray Train: read when its classes are imported, or by its controller, which inherits them.
_ENVIRONMENT = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # else a worker stands in a folder of Ray Train's
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "5",  # what a lost worker leaves never answers
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """What a worker is given."""

    config: TrainConfig
    source: ModelSource | None
    run_dir: Path
    code: CodeVersion
    relay: Any
    quiet: bool


class _WorkerLost(Exception):  # noqa: N818 - it says what happened
    """A worker died, or its machine; the message says why in one line."""


def train_on_ray(
    config: TrainConfig,
    source: ModelSource | None,
    run_dir: Path,
    console: Console,
    *,
    should_stop: Callable[[], bool],
) -> Run:
    """Carry a training out on Ray's workers, see `carry_out_training`; returns its run, complete.

    Args:
        config: what is wanted, with ``search.num_workers``.
        source: what to train; None for what the run trains.
        run_dir: the run's folder, on storage that all machines share unless there is a mirror.
        console: for what the workers print.
        should_stop: whether the training is to stop at the next step.

    Raises:
        ConfigError: something the user gave cannot be used.
        EngineError: the loss was not finite, or workers were lost too often.
        KeyboardInterrupt: it was asked to stop, and its state is on disk.
    """
    workers = config.search
    num_workers = _num_workers(config)
    os.environ.update(_ENVIRONMENT)
    init_from = config.init_from and os.path.abspath(config.init_from)  # a worker stands elsewhere
    config, run_dir = replace(config, init_from=init_from), run_dir.resolve()
    with connected(workers.ray_address, num_cpus=num_workers * config.train.num_threads):
        needs = worker_resources(config, console)
        for attempt in range(1, workers.max_attempts + 1):
            try:
                return _attempt(config, source, run_dir, console, needs=needs, should_stop=should_stop)
            except _WorkerLost as lost:
                if should_stop():
                    raise KeyboardInterrupt from None
                said = f"a worker was lost ({lost})"
                if attempt == workers.max_attempts:
                    raise EngineError(f"{said}, {attempt} times in all (search.max_attempts)") from lost
                warn(console, f"{said}; all are started again and go on from the newest checkpoint")
        raise AssertionError("search.max_attempts is at least 1")


def _num_workers(config: TrainConfig) -> int:
    assert config.search.num_workers is not None
    return config.search.num_workers


def worker_resources(config: TrainConfig, console: Console) -> TrialResources:
    """What each worker gets: a GPU of its own where there are any, unless the settings say otherwise.

    Raises:
        ConfigError: this machine has no room for so many.
    """
    device = config.train.device
    has_gpus = cluster_resources().get("GPU", 0.0) > 0
    is_on_gpu = device == "cuda" or (device == "auto" and has_gpus)
    needs = TrialResources(cpus=float(config.train.num_threads), gpus=float(is_on_gpu))
    num_workers, room = _num_workers(config), needs.workers_that_fit(cluster_nodes())
    if room < num_workers:
        said = (
            f"search.num_workers: {num_workers} workers need {needs} each, and this Ray has room for {room}"
        )
        if config.search.ray_address == "local":
            raise ConfigError(f"{said}; give fewer{', or train.device=cpu' if is_on_gpu else ''}")
        warn(console, f"{said}; the training begins when nodes have joined")
    return needs


def _attempt(
    config: TrainConfig,
    source: ModelSource | None,
    run_dir: Path,
    console: Console,
    *,
    needs: TrialResources,
    should_stop: Callable[[], bool],
) -> Run:
    """Start all workers and wait for their end.

    Raises:
        _WorkerLost: one of them died.
        ConfigError, EngineError, KeyboardInterrupt: as `train_on_ray`.
    """
    from ray.train import RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    relay = start_relay()
    job = _Job(
        config=config, source=source, run_dir=run_dir, code=code_version(), relay=relay, quiet=console.quiet
    )
    failures: list[BaseException] = []

    def fit(trainer: TorchTrainer) -> None:
        try:
            trainer.fit()
        except BaseException as error:  # SystemExit too, where Ray is left while it waits
            failures.append(error)

    with tempfile.TemporaryDirectory(prefix="spinesearch-train-") as folder:
        trainer = TorchTrainer(
            _train,
            train_loop_config={"job": job},
            torch_config=TorchConfig(
                backend=backend(has_gpus=needs.gpus > 0), timeout_s=int(PATIENCE.total_seconds())
            ),
            scaling_config=ScalingConfig(
                num_workers=_num_workers(config),
                use_gpu=needs.gpus > 0,
                resources_per_worker={"CPU": needs.cpus, **({"GPU": needs.gpus} if needs.gpus else {})},
            ),
            # It keeps nothing there: no checkpoint is reported to it.
            run_config=RunConfig(name=run_dir.name, storage_path=folder),
        )
        thread = threading.Thread(target=fit, args=(trainer,), name="ray-train", daemon=True)
        thread.start()
        is_told, endings = False, dict[int, Ending]()
        while thread.is_alive() and not any(ending.reason for ending in endings.values()):
            thread.join(_POLL_S)
            if should_stop() and not is_told:
                relay.stop.remote()
                is_told = True
            text, endings = ray.get(relay.news.remote())
            console.file.write(text)  # what a quiet worker does not print is not in it
            console.file.flush()
    ray.kill(relay)
    for _, ending in sorted(endings.items()):
        if ending.reason:
            raise (ConfigError if ending.is_refused else EngineError)(ending.reason)
    if failures and isinstance(failures[0], TrainingFailedError | RayError):
        raise _WorkerLost(_why(failures[0]))
    if failures:
        raise failures[0]
    if 0 not in endings or (run := endings[0].run) is None:
        raise KeyboardInterrupt
    return run


def _why(failure: BaseException) -> str:
    """In one line why workers were lost: what the one that died says, not those that missed it."""
    workers: dict[int, Exception] = getattr(failure, "worker_failures", {})
    if not workers:
        return why_lost(failure)
    rank, error = min(workers.items(), key=lambda item: not isinstance(item[1], RayActorError))
    return f"number {rank}: {why_lost(error)}"


def _train(config: dict[str, Any]) -> None:
    """A worker's part."""
    job: _Job = config["job"]
    group = ProcessGroup()
    file = RelayedText(job.relay) if group.is_first else open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    console = Console(file=file, width=160, markup=False, highlight=False, soft_wrap=True, quiet=job.quiet)
    should_stop = StopAsked(job.relay) if group.is_first else lambda: False
    ending = Ending()
    try:
        if difference := code_difference(job.code, code_version()):
            raise ConfigError(f"search.num_workers: a worker cannot take part: {difference}")
        ending = Ending(
            run=carry_out_training(
                job.config, job.source, job.run_dir, console, group=group, should_stop=should_stop
            )
        )
        group.from_first(None)  # the others wait until all is measured and written
    except KeyboardInterrupt:
        pass
    except EngineError as error:
        ending = Ending(reason=str(error))
        raise
    except (ValueError, OSError) as error:
        ending = Ending(reason=" ".join(str(error).split()), is_refused=True)
        raise
    finally:
        if group.is_first or ending.reason:
            ray.get(job.relay.end.remote(group.rank, ending))
