"""What a run is carried out with: its data, opened here, and the engine that scores its candidates."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypedDict

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from spinesearch.data.open import ProxyData, open_data
from spinesearch.results.ledger.trial import Trial
from spinesearch.search.config.run_config import RunConfig
from spinesearch.search.scoring.proxy_score import open_proxy_score, proxy_score
from spinesearch.search.scoring.scorer import Scorer
from spinesearch.search.scoring.serial_scorer import SerialScorer
from spinesearch.search.warn import warn


class Reports(TypedDict):
    """Whom `open_data` and its kind report to."""

    progress: Callable[[str, int, int], None]
    warn: Callable[[str], None]
    report: Callable[[str], None]


@contextlib.contextmanager
def reporting(console: Console) -> Iterator[Reports]:
    """What opening data is given, so that progress and warnings are on the console."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal or console.quiet,
    ) as bars:
        tasks: dict[str, Any] = {}

        def progress(description: str, done: int, total: int) -> None:
            if description not in tasks:
                tasks[description] = bars.add_task(description, total=total)
                if not console.is_terminal:
                    console.print(f"{description}: {total}")
            bars.update(tasks[description], completed=done)

        yield {
            "progress": progress,
            "warn": lambda line: warn(console, line),
            "report": lambda line: console.print(line, soft_wrap=True, highlight=False),
        }


def open_run_data(config: RunConfig, console: Console) -> ProxyData:
    """The data of a configuration, opened here, with progress and warnings on the console."""
    with reporting(console) as reports:
        proxy = config.proxy_task
        data = open_data(config.data, image_size=proxy.image_size, masks=proxy.needs_masks, **reports)
    num_steps = config.proxy_task.training_steps(len(data.train_index))
    if config.proxy_task.warmup_steps >= num_steps:
        reports["warn"](
            f"proxy_task.warmup_steps: {config.proxy_task.warmup_steps} of a training of {num_steps} steps, "
            "whose learning rate therefore rises to the end and never falls; give fewer"
        )
    return data


# Settings that engine=serial has no use for, with the values of conf/search/default.yaml.
_OF_WORKERS = {
    "num_workers": None,
    "cpus_per_trial": 1.0,
    "gpus_per_trial": None,
    "resources_per_trial": None,
    "trials_per_worker": None,
    "worker_memory_gb": None,
    "ray_address": "local",
    "trial_timeout_s": None,
}
_COST_WEIGHT = -0.07  # of conf/search/default.yaml


def check_engine(config: RunConfig, *, warn: Callable[[str], None]) -> None:
    """Check that there is a Ray where the configuration says, before the data, which may take hours to pack.

    Args:
        config: the run's.
        warn: receives a line for each kind of settings that another one makes ineffective.

    Raises:
        ConfigError: there is none.
    """
    if config.search.engine == "serial":
        ignored = [
            f"search.{name}"
            for name, default in _OF_WORKERS.items()
            if getattr(config.search, name) != default
        ]
        if ignored:
            warn(
                f"search.engine=serial trains in this process, without workers: {', '.join(ignored)} "
                f"{'has' if len(ignored) == 1 else 'have'} no effect"
            )
    if config.search.cost_target is None and config.search.cost_weight != _COST_WEIGHT:
        warn(
            f"search.cost_weight: {config.search.cost_weight} has no effect without search.cost_target, the "
            "multiply-adds at which a reward stays what it is; give that too"
        )
    if config.search.engine == "ray" and config.search.ray_address != "local":
        from spinesearch.search.workers.ray_cluster import check_address

        check_address(config.search.ray_address)


def trains_on(config: RunConfig) -> str:
    """Where candidates of a configuration will be trained: ``cpu``, ``cuda``, or empty if that is not known.

    It is not where a cluster that was not asked yet decides whether workers get a GPU.
    """
    device, search = config.proxy_task.device, config.search
    if device != "auto":
        return device
    if search.engine == "ray" and search.gpus_per_trial is not None:
        return "cuda" if search.gpus_per_trial else "cpu"
    if search.engine == "ray" and search.ray_address != "local":
        return ""
    from spinesearch.training.process.machine import find_device

    return find_device(device).type


class _Rate(ProgressColumn):
    """Images a second."""

    def render(self, task: Task) -> Text:
        """Nothing before it is known."""
        return Text("" if task.speed is None else f"{task.speed:.0f} images/s")


@contextlib.contextmanager
def open_scorer(
    config: RunConfig, data: ProxyData, *, warn: Callable[[str], None], known: Iterable[Trial] = ()
) -> Iterator[Scorer]:
    """The engine of the configuration, closed at the end whatever happens.

    Args:
        config: its settings, and the proxy task it is to score.
        data: what the proxy task runs on.
        warn: receives, in one line, what goes wrong with workers.
        known: trials of the run scored with these settings, from which it is known how long one takes.
    """
    settings = config.search
    if settings.engine == "serial":
        serial = SerialScorer(
            functools.partial(proxy_score, config.proxy_task, data), max_attempts=settings.max_attempts
        )
        try:
            yield serial
        finally:
            serial.close()
        return

    from spinesearch.search.workers.ray_cluster import connected
    from spinesearch.search.workers.ray_scorer import RayScorer
    from spinesearch.search.workers.trial_resources import trial_resources
    from spinesearch.search.workers.trial_timeout import TrialTimeout

    num_cpus = settings.num_workers and settings.num_workers * settings.cpus_per_trial
    with connected(settings.ray_address, num_cpus=num_cpus):
        resources = trial_resources(
            settings.cpus_per_trial,
            config.gpus_per_worker,
            settings.resources_per_trial,
            may_grow=settings.ray_address != "local",
        )
        proxy_task = resources.placed(config.proxy_task)
        scorer = RayScorer(
            functools.partial(
                open_proxy_score, proxy_task, config.data, data.key, gpu_share=min(1.0, resources.gpus or 1.0)
            ),
            num_workers=settings.num_workers,
            resources=resources,
            max_attempts=settings.max_attempts,
            trials_per_worker=settings.trials_per_worker,
            worker_memory_gb=settings.worker_memory_gb,
            timeout=TrialTimeout(
                settings.trial_timeout_s,
                num_steps=proxy_task.training_steps(len(data.train_index)),
                known=known,
            ),
            may_grow=settings.ray_address != "local",
            warn=warn,
        )
        try:
            yield scorer
        finally:
            scorer.close()
