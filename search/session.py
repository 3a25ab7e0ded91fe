"""One process's part in a run: checks everything, then begins or continues the search."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from spinesearch import __version__
from spinesearch.controller import Controller
from spinesearch.controller.settings import ReinforceSettings
from spinesearch.data.open import ProxyData
from spinesearch.proxy_task.task import check_settings
from spinesearch.results.ledger.run import Run
from spinesearch.search.config.run_config import ConfigError, RunConfig, check_resumable, run_config
from spinesearch.search.engine import check_engine, open_run_data, open_scorer
from spinesearch.search.environment import code_version
from spinesearch.search.loop.checkpoint import Checkpoints
from spinesearch.search.loop.loop import SearchPlan, run_search
from spinesearch.search.loop.observer import Observers, SearchObserver
from spinesearch.search.runs.run_folder import open_new_ledger, open_run
from spinesearch.search.watchers.display import Display
from spinesearch.search.watchers.mirror_observer import MirrorObserver, send_rest
from spinesearch.search.watchers.tensorboard import TensorBoardObserver
from spinesearch.space import SearchSpace


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
    display = Display(console, reward_metric=config.search.reward_metric)
    with contextlib.ExitStack() as stack:
        run, ledger, mirror = open_run(config, run_dir, console)
        if ledger is not None:
            stack.enter_context(ledger)
            if run.sessions:
                if run.study is not None:
                    raise ConfigError(
                        f"name: {run_dir} holds a study, not a search; go on with it by "
                        "`spinesearch resume`, or choose another name"
                    )
                config = _as_extended(config, run, console)
                check_resumable(run_config(run.config), config)
                if _is_complete(run, config):
                    console.print(
                        f"{run_dir}: complete, all {run.num_done} candidates are done", soft_wrap=True
                    )
                    if mirror is not None:
                        send_rest(mirror, run_dir, ledger, display.warned)
                    return run
        space = config.space.build()
        # On a cluster it is the workers' devices that count.
        check_settings(
            config.proxy_task,
            space.levels,
            is_mbconv=space.is_mbconv,
            check_device=config.search.trains_here,
        )
        check_engine(config)
        data = open_run_data(config, console)
        if run.sessions:
            check_same_data(run.sessions[0]["data"], data)
        scorer = stack.enter_context(open_scorer(config, data, warn=display.warned, known=run.trials))
        controller = _build_controller(config, space)
        if ledger is None:
            ledger = stack.enter_context(open_new_ledger(run_dir, console))
        event = run_event(config, data)
        ledger.append([event])
        run.apply(event)
        console.print(_headline(config, space, data, run_dir))
        observers: list[SearchObserver] = [display, TensorBoardObserver(run_dir)]
        if mirror is not None:
            observers.append(MirrorObserver(mirror, run_dir, ledger, display.warned))
        run_search(
            plan=SearchPlan(
                seed=config.seed,
                num_trials=config.search.num_trials,
                generation_size=config.search.generation_size,
                lag=config.search.lag,
                reward_metric=config.search.reward_metric,
                failed_reward=config.search.failed_reward,
                max_failed_share=config.search.max_failed_share,
            ),
            space=space,
            controller=controller,
            scorer=scorer,
            ledger=ledger,
            run=run,
            # A run that is continued with more trials goes on from before the updates of its tail.
            checkpoints=Checkpoints(run_dir, keep=config.search.lag + 2),
            observer=Observers(observers),
        )
    return run


def _as_extended(config: RunConfig, run: Run, console: Console) -> RunConfig:
    """The configuration with the trials that the run was given since this command began or continued it.

    So that a job which is restarted with the command it had goes on, although somebody extended the run.
    """
    wanted, recorded = config.search.num_trials, run.config["search"]["num_trials"]
    earlier = {session["config"]["search"]["num_trials"] for session in run.sessions}
    if wanted >= recorded or wanted not in earlier:
        return config
    console.print(f"search.num_trials: the run was extended from {wanted} to {recorded}, which it goes on to")
    return replace(config, search=replace(config.search, num_trials=recorded))


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
        "sources": code_version().sources,
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
