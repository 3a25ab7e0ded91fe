"""One process's part in a study: checks everything, then begins or continues it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from spinesearch.data.open import ProxyData
from spinesearch.proxy_task.task import check_settings
from spinesearch.results.ledger.run import Run, Trial, load_run
from spinesearch.results.studies.study import Study
from spinesearch.search.config.run_config import ConfigError, RunConfig
from spinesearch.search.engine import check_engine, open_run_data, open_scorer
from spinesearch.search.environment import machine
from spinesearch.search.loop.observer import Observers, SearchObserver
from spinesearch.search.runs.run_folder import open_new_ledger, open_run
from spinesearch.search.session import check_same_data, data_record, run_event
from spinesearch.search.study.study import Known, run_study, sample_architectures
from spinesearch.search.study.study_config import StudyConfig, check_continues
from spinesearch.search.watchers.display import Display
from spinesearch.search.watchers.mirror_observer import MirrorObserver, send_rest

# Settings of the proxy task under which a candidate scores the same, up to the last bits.
_NOT_DECIDING = ("device", "evaluator", "cuda_graph")


def carry_out_study(
    wanted: StudyConfig, run_dir: Path, console: Console, *, command: str, reuse: Sequence[Path] = ()
) -> Run:
    """Begin the study in a folder, or continue the one that is there; returns it complete.

    Everything that can be wrong is checked before anything is written (a torn last line is cut off first).

    Args:
        wanted: of a study that is there already it may change only how it is run, or ask for more.
        run_dir: the study's folder.
        console: for progress.
        command: how it was started, for the record.
        reuse: folders of runs whose results under the same conditions are taken over.

    Raises:
        ConfigError, DataError, LedgerError: something the user gave cannot be used.
        EngineError: the study cannot go on.
    """
    display = Display(console, reward_metric=wanted.config.search.reward_metric)
    with contextlib.ExitStack() as stack:
        run, ledger, mirror = open_run(wanted.config, run_dir, console)
        if ledger is not None:
            stack.enter_context(ledger)
            if run.sessions:
                wanted = _as_extended(wanted, run, console)
                check_continues(run, wanted)
                if run.num_done == wanted.num_trials:
                    if mirror is not None:
                        send_rest(mirror, run_dir, ledger, display.warned)
                    return run
        config = wanted.config
        space = config.space.build()
        archs = sample_architectures(space, num_archs=wanted.num_archs, seed=config.seed)
        for side_config in wanted.configs.values():
            # On a cluster it is the workers' devices that count.
            check_settings(
                side_config.proxy_task,
                space.levels,
                is_mbconv=space.is_mbconv,
                check_device=config.search.trains_here,
            )
        check_engine(config)
        data = _open_all_data(wanted, console)
        if run.sessions:
            for side, opened in data.items():
                check_same_data(Study(run).data(side), opened)
        event = _study_event(wanted, data, command)
        known = _known_results(wanted, event, reuse)
        if run.sessions and run.sessions[-1]["torch"] != event["torch"]:
            console.print(
                f"warning: this study was begun with torch {run.sessions[-1]['torch']}, this is "
                f"{event['torch']}: their scores may differ by more than seeds make them",
                style="yellow",
            )
        if ledger is None:
            ledger = stack.enter_context(open_new_ledger(run_dir, console))
        ledger.append([event])
        run.apply(event)
        console.print(_headline(wanted, space.name, run_dir))
        observers: list[SearchObserver] = [display]
        if mirror is not None:
            observers.append(MirrorObserver(mirror, run_dir, ledger, display.warned))
        run_study(
            plan=wanted.plan,
            space=space,
            archs=archs,
            open_scorer=lambda side: open_scorer(
                wanted.configs[side],
                data[side],
                warn=display.warned,
                known=[trial for trial in run.trials if trial.side == side],
            ),
            ledger=ledger,
            run=run,
            observer=Observers(observers),
            known=known,
        )
    return run


def _as_extended(wanted: StudyConfig, run: Run, console: Console) -> StudyConfig:
    """What is wanted, grown as the study was since it was wanted before: see the search's of this name."""
    studies = [session["study"] for session in run.sessions if session.get("study")]

    def grown(name: str, option: str) -> int:
        number: int = getattr(wanted, name)
        numbers = [int(study[name]) for study in studies] or [number]
        if number >= numbers[-1] or number not in numbers:
            return number
        console.print(f"{option}: the study was extended from {number} to {numbers[-1]}, and goes on to that")
        return numbers[-1]

    return replace(wanted, num_archs=grown("num_archs", "--archs"), num_seeds=grown("num_seeds", "--seeds"))


def _open_all_data(wanted: StudyConfig, console: Console) -> dict[str, ProxyData]:
    """The data of every side; the same only once."""
    opened: dict[str, tuple[RunConfig, ProxyData]] = {}
    for side, config in wanted.configs.items():
        same = next(
            (
                data
                for other, data in opened.values()
                if other.data == config.data and other.proxy_task.image_size == config.proxy_task.image_size
            ),
            None,
        )
        opened[side] = (config, same or open_run_data(config, console))
    return {side: data for side, (_, data) in opened.items()}


def _study_event(wanted: StudyConfig, data: dict[str, ProxyData], command: str) -> dict[str, Any]:
    first, *others = wanted.configs
    study = wanted.to_dict()
    for side in others:
        study[side] = {"config": wanted.configs[side].to_dict(), "data": data_record(data[side])}
    event = run_event(wanted.config, data[first])
    return {**event, "machine": machine(), "command": command, "study": study}


def _known_results(wanted: StudyConfig, event: dict[str, Any], reuse: Sequence[Path]) -> Known:
    """Completed trials of other runs under the conditions of one of this study's sides.

    Raises:
        ConfigError: a run has none; the message says what differs.
    """
    current = Run(sessions=[event])
    known: dict[tuple[str, str, int], tuple[Trial, str]] = {}
    for run_dir in reuse:
        run, _ = load_run(run_dir)
        study = Study(run) if run.study is not None else None
        reasons: list[str] = []
        found: dict[tuple[str, str, int], tuple[Trial, str]] = {}
        for side in wanted.configs:
            for other_side in study.sides if study else ("",):
                differs = _difference(_conditions(current, side), _conditions(run, other_side))
                if differs:
                    reasons.append(differs)
                    continue
                for trial in run.trials:
                    if trial.side == other_side and trial.status == "completed":
                        seed = run.config["seed"] if trial.seed is None else trial.seed
                        found[side, trial.arch_id, seed] = (trial, run_dir.resolve().name)
        if not found:
            reason = reasons[0] if reasons else "nothing has completed there"
            raise ConfigError(f"--reuse: {run_dir} has no results that fit here: {reason}")
        known |= found
    return known


def _conditions(run: Run, side: str) -> dict[str, Any]:
    """All that decides a score besides architecture and seed."""
    config, data = run.config, run.sessions[-1]["data"]
    if run.study is not None:
        config, data = Study(run).config(side), Study(run).data(side)
    conditions = {
        f"proxy_task.{key}": value for key, value in config["proxy_task"].items() if key not in _NOT_DECIDING
    }
    versions = {
        key: sorted({session.get(key, "unknown") for session in run.sessions})
        for key in ("version", "sources", "torch")
    }
    return {**conditions, "data key": data["key"], **versions}


def _difference(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """The first condition that differs, in words; empty if none does."""
    for key in ours | theirs:
        a, b = ours.get(key), theirs.get(key)
        # JSON has lists only.
        if (list(a) if isinstance(a, tuple) else a) != (list(b) if isinstance(b, tuple) else b):
            return f"{key} is {b!r} there and {a!r} here"
    return ""


def _headline(wanted: StudyConfig, space_name: str, run_dir: Path) -> str:
    seeds = "1 seed" if wanted.num_seeds == 1 else f"{wanted.num_seeds} seeds"
    sides = f" x {len(wanted.configs)} settings" if len(wanted.configs) > 1 else ""
    return (
        f"{run_dir}: {wanted.num_archs} architectures of {space_name} x {seeds}{sides}: "
        f"{wanted.num_trials} trainings"
    )
