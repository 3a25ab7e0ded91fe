"""One process's part in a run: checks everything, then begins or continues the search."""

from __future__ import annotations

import contextlib
import itertools
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from spinesearch import __version__
from spinesearch.controller import Controller
from spinesearch.controller.settings import ReinforceSettings
from spinesearch.proxy_task.data import ProxyData
from spinesearch.proxy_task.task import check_settings
from spinesearch.results.ledger import LEDGER_NAME, STARTING_NAMES, Ledger
from spinesearch.results.run import Run
from spinesearch.search.checkpoint import Checkpoints
from spinesearch.search.config import ConfigError, RunConfig, check_resumable, run_config
from spinesearch.search.display import Display
from spinesearch.search.engine import open_run_data, open_scorer
from spinesearch.search.loop import SearchPlan, run_search
from spinesearch.search.observer import Observers
from spinesearch.search.tensorboard import TensorBoardObserver
from spinesearch.space import SearchSpace


def run_dir_of(config: RunConfig) -> Path:
    """Where a run goes: ``<runs_dir>/<name>``, or without a name a new folder of today's date.

    Raises:
        ConfigError: the name is no plain folder name, or the folder holds something else than a run.
    """
    runs_dir = Path(config.runs_dir).expanduser()
    if runs_dir.exists() and not runs_dir.is_dir():
        raise ConfigError(f"runs_dir: {runs_dir} is no folder")
    for key, text in (("name", config.name), ("label", config.label)):
        if text is not None and (text in ("", ".", "..") or "/" in text or "\0" in text):
            raise ConfigError(
                f"{key}: must be a plain folder name, got {text!r}; runs_dir sets where it goes"
            )
    if config.name is None:
        stem = f"{time.strftime('%Y-%m-%d')}_{config.label}"
        names = itertools.chain([stem], (f"{stem}_{i}" for i in itertools.count(2)))
        return next(runs_dir / name for name in names if not (runs_dir / name).exists())
    run_dir = runs_dir / config.name
    if run_dir.exists() and not run_dir.is_dir():
        raise ConfigError(f"name: {run_dir} is no folder; choose another name")
    if has_run(run_dir) or not run_dir.exists():
        return run_dir
    # A search killed at its very start leaves its lock and lease, and perhaps an empty ledger.
    if any(path.name not in STARTING_NAMES for path in run_dir.iterdir()):
        raise ConfigError(f"name: {run_dir} exists and is no run; choose another name")
    return run_dir


def has_run(run_dir: Path) -> bool:
    """Whether a search has begun in this folder."""
    ledger = run_dir / LEDGER_NAME
    return ledger.is_file() and ledger.stat().st_size > 0


def search(config: RunConfig, run_dir: Path, console: Console) -> Run:
    """Begin the run in a folder, or continue the one that is there; returns it complete.

    Everything that can be wrong is checked before anything is written (a torn last line is cut off first).

    Args:
        config: the configuration; of a run that is there already it may change only how it is run.
        run_dir: the run's folder.
        console: for progress.

    Raises:
        ConfigError, DataError, LedgerError: something the user gave cannot be used.
        EngineError: the search cannot go on.
    """
    with contextlib.ExitStack() as stack:
        run, ledger = Run(), None
        if has_run(run_dir):
            ledger = stack.enter_context(Ledger(run_dir))
            run = Run.from_events(run_dir / LEDGER_NAME, ledger.contents.events)
            if ledger.contents.torn:
                console.print(f"warning: {ledger.contents.torn}", style="yellow")
            if run.sessions:
                if run.study is not None:
                    raise ConfigError(
                        f"name: {run_dir} holds a study, not a search; go on with it by "
                        "`spinesearch resume`, or choose another name"
                    )
                check_resumable(run_config(run.config), config)
                if _is_complete(run, config):
                    return run
        space = config.space.build()
        # With Ray it is the workers' devices that count, which depend on their resources.
        check_settings(
            config.proxy_task,
            space.levels,
            is_mbconv=space.is_mbconv,
            check_device=config.search.engine == "serial",
        )
        data = open_run_data(config, console)
        if run.sessions:
            check_same_data(run.sessions[0]["data"], data)
        display = Display(console, reward_metric=config.search.reward_metric)
        scorer = stack.enter_context(
            open_scorer(config, data, num_jobs=config.search.num_trials, warn=display.warned)
        )
        controller = _build_controller(config, space)
        if ledger is None:
            ledger = stack.enter_context(open_new_ledger(run_dir))
        event = run_event(config, data)
        ledger.append([event])
        run.apply(event)
        console.print(_headline(config, space, data, run_dir))
        run_search(
            plan=SearchPlan(
                seed=config.seed,
                num_trials=config.search.num_trials,
                generation_size=config.search.generation_size,
                lag=config.search.lag,
                reward_metric=config.search.reward_metric,
                failed_reward=config.search.failed_reward,
            ),
            space=space,
            controller=controller,
            scorer=scorer,
            ledger=ledger,
            run=run,
            # A run that is continued with more trials goes on from before the updates of its tail.
            checkpoints=Checkpoints(run_dir, keep=config.search.lag + 2),
            observer=Observers([display, TensorBoardObserver(run_dir)]),
        )
    return run


def _is_complete(run: Run, config: RunConfig) -> bool:
    num_updates = config.search.num_trials // config.search.generation_size
    return run.num_done == config.search.num_trials and len(run.updates) == num_updates


def check_same_data(recorded: Mapping[str, Any], data: ProxyData) -> None:
    """Check that the data are those a run was begun on.

    Raises:
        ConfigError: they are not.
    """
    if recorded["key"] != data.key:
        raise ConfigError(
            f"data: this run was begun on other images or annotations (key {recorded['key']}, now "
            f"{data.key}); give it the same data, or start a new run"
        )


def open_new_ledger(run_dir: Path) -> Ledger:
    """The ledger of a run that begins now, empty.

    Raises:
        ConfigError: another process was faster.
    """
    ledger = Ledger(run_dir)
    if ledger.contents.events:
        ledger.close()
        raise ConfigError(
            f"{run_dir}: another process began this run meanwhile; give the command again to go on with it"
        )
    return ledger


def _build_controller(config: RunConfig, space: SearchSpace) -> Controller:
    if isinstance(config.controller, ReinforceSettings):
        from spinesearch.controller.reinforce import ReinforceController

        return ReinforceController(space, seed=config.seed, settings=config.controller)
    from spinesearch.controller.random import RandomController

    return RandomController(space, seed=config.seed)


def run_event(config: RunConfig, data: ProxyData) -> dict[str, Any]:
    """The ledger's event of a process that begins or continues a run."""
    import torch

    return {
        "event": "run",
        "version": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "host": platform.node(),
        "config": config.to_dict(),
        "data": data_record(data),
        "time": time.time(),
    }


def data_record(data: ProxyData) -> dict[str, Any]:
    """What the ledger says of the data."""
    return {
        "key": data.key,
        "num_train_images": len(data.train_index),
        "num_held_out_images": len(data.held_out_index),
        "class_names": list(data.class_names),
    }


def _headline(config: RunConfig, space: SearchSpace, data: ProxyData, run_dir: Path) -> str:
    return (
        f"{run_dir}: {config.search.num_trials} candidates of {space.name} "
        f"({space.size:,} choices), controller {config.controller.name}; "
        f"{len(data.train_index)} training and "
        f"{len(data.held_out_index)} held-out images, {data.num_classes} classes"
    )
