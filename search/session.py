"""One process's part in a run: checks everything, then begins or resumes the search or study."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from rich.console import Console

from spinesearch.data.data_settings import DataSettings
from spinesearch.data.open import ProxyData
from spinesearch.proxy_task.check import check_settings
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import Trial
from spinesearch.search.config.run_config import RunConfig
from spinesearch.search.coverage import coverage_warning
from spinesearch.search.engine import check_engine, open_run_data, open_scorer
from spinesearch.search.environment import code_version, machine
from spinesearch.search.loop.loop import run_loop
from spinesearch.search.loop.observer import Observers, SearchObserver
from spinesearch.search.loop.source import CandidateSource
from spinesearch.search.runs.run_folder import open_new_ledger, open_run
from spinesearch.search.runs.stop_request import StopRequests
from spinesearch.search.same_data import as_recorded, data_record
from spinesearch.search.scoring.scorers import Scorers
from spinesearch.search.search_request import SearchRequest
from spinesearch.search.watchers.display import Display
from spinesearch.search.watchers.mirror_observer import MirrorObserver, send_rest
from spinesearch.space import SearchSpace

_Value = TypeVar("_Value")


class Request(Protocol):
    """What a session carries out: a search or a study."""

    @property
    def configs(self) -> Mapping[str, RunConfig]:
        """By side; the first is the run's. A search has the side ``""`` alone."""

    def resumed(self, run: Run, run_dir: Path, console: Console) -> Request:
        """The request as far as the run was extended since it was first made.

        Raises:
            ConfigError: the run cannot be resumed with it.
        """

    def is_complete(self, run: Run) -> bool:
        """Whether nothing is left to do."""

    def recorded(self, run: Run, side: str) -> Mapping[str, Any] | None:
        """``config`` and ``data`` of a side as the run was begun; None if the data need not be compared."""

    def known(self, run: Run, side: str) -> Sequence[Trial]:
        """Trainings of the run under the settings of a side."""

    def event_fields(self, data: Mapping[str, ProxyData]) -> dict[str, Any]:
        """What its ``run`` event has besides the fields of `run_event`."""

    def source(self, space: SearchSpace, run_dir: Path, event: Mapping[str, Any]) -> CandidateSource:
        """The candidates, given this session's ``run`` event.

        Raises:
            ValueError: there can be none such.
        """

    def headline(self, space: SearchSpace, data: Mapping[str, ProxyData]) -> str:
        """What is to be done, in one line."""

    def watchers(self, run_dir: Path, note: Callable[[str], None]) -> list[SearchObserver]:
        """Observers of its own; ``note`` is called with a line about one that is unavailable."""


def carry_out(request: Request, run_dir: Path, console: Console) -> Run:
    """Begin the run in a folder, or resume the one that is there; returns it complete.

    Everything that can be wrong is checked before anything is written (a torn last line is cut off first).

    Args:
        request: what is wanted; of a run that exists already it may change only how it is carried out.
        run_dir: the run's folder.
        console: for progress.

    Raises:
        ConfigError, DataError, LedgerError: something the user gave cannot be used.
        EngineError: the run cannot continue.
    """
    display = Display(console, reward_metric=_first(request.configs).search.reward_metric)
    with contextlib.ExitStack() as stack:
        run, ledger, mirror = open_run(_first(request.configs), run_dir, console)
        if ledger is not None:
            stack.enter_context(ledger)
            stack.enter_context(StopRequests(run_dir, mirror, console.print))
            if run.sessions:
                request = request.resumed(run, run_dir, console)
                if request.is_complete(run):
                    what = "candidates" if run.study is None else "trainings"
                    console.print(f"{run_dir}: complete, all {run.num_done} {what} are done", soft_wrap=True)
                    if mirror is not None:
                        send_rest(mirror, run_dir, ledger, display.warned)
                    return run
        configs = request.configs
        space, data, event, source = prepare(request, run, run_dir, console, display.warned)
        scorers = stack.enter_context(
            Scorers(
                lambda side: open_scorer(
                    configs[side],
                    data[side],
                    warn=display.warned,
                    known=request.known(run, side),
                )
            )
        )
        scorers.of(source.first_side(run))  # so that a faulty engine leaves nothing written
        if run.sessions and run.sessions[-1]["torch"] != event["torch"]:
            display.warned(
                f"this run was begun with torch {run.sessions[-1]['torch']}, this is {event['torch']}: "
                "candidates may score differently"
            )
        if ledger is None:
            ledger = stack.enter_context(open_new_ledger(run_dir, console))
            stack.enter_context(StopRequests(run_dir, mirror, console.print))
        ledger.append([event])
        run.apply(event)
        console.print(f"{run_dir}: {request.headline(space, data)}")
        observers = [display, *request.watchers(run_dir, lambda line: console.print(line, soft_wrap=True))]
        if mirror is not None:
            observers.append(MirrorObserver(mirror, run_dir, ledger, display.warned))
        run_loop(
            source=source,
            space=space,
            scorers=scorers,
            ledger=ledger,
            run=run,
            observer=Observers(observers),
        )
    return run


class Prepared(NamedTuple):
    """A run that could begin or go on now; nothing of it has started or is written.

    Attributes:
        space: of its candidates.
        data: by side.
        event: the ledger's of this process.
        source: of its candidates.
    """

    space: SearchSpace
    data: Mapping[str, ProxyData]
    event: dict[str, Any]
    source: CandidateSource


def prepare(
    request: Request, run: Run, run_dir: Path, console: Console, warn: Callable[[str], None]
) -> Prepared:
    """Everything that can be wrong with a request, checked, and its data opened.

    Args:
        request: as `Request.resumed` gives it for a run that exists.
        run: as far as it is; empty for a new one.
        run_dir: its folder, which need not exist.
        console: for progress.
        warn: told in a line of what is odd but can be carried out.

    Raises:
        ConfigError, DataError: something the user gave cannot be used.
    """
    configs = request.configs
    config = _first(configs)
    space = config.space.build()
    for side_config in configs.values():
        # On a cluster it is the workers' devices that count.
        check_settings(
            side_config.proxy_task,
            space.levels,
            is_mbconv=space.is_mbconv,
            check_device=config.search.trains_here,
        )
    check_engine(config, warn=warn)
    data = open_all_data(configs, console)
    if run.sessions:
        for side, opened in data.items():
            if (recorded := request.recorded(run, side)) is not None:
                data[side] = as_recorded(recorded, opened, configs[side].data, warn)
    event = run_event(config, _first(data)) | request.event_fields(data)
    if "coverage" in event and (line := coverage_warning(event["coverage"])):
        warn(line)
    return Prepared(space, data, event, request.source(space, run_dir, event))


def search(
    config: RunConfig, run_dir: Path, console: Console, *, reranks: bool = False, retries: bool = False
) -> Run:
    """Begin a search, or resume the one that is there; see `carry_out`.

    Args:
        config: its configuration.
        run_dir: its folder.
        console: for progress.
        reranks: only rank its best again.
        retries: try its failed candidates again first.
    """
    return carry_out(SearchRequest(config=config, reranks=reranks, retries=retries), run_dir, console)


class _Recorded(Protocol):
    """A configuration, of a search or of a training."""

    @property
    def data(self) -> DataSettings:
        """Which data."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the ledger."""


def run_event(config: _Recorded, data: ProxyData) -> dict[str, Any]:
    """The ledger's event of a process that begins or resumes a run."""
    import torch

    code = code_version()
    return {
        "event": "run",
        "version": code.version,
        "sources": code.sources,
        "scoring_sources": code.scoring_sources,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "host": platform.node(),
        "machine": machine(),
        "config": config.to_dict(),
        "data": data_record(data, config.data),
        "time": time.time(),
    }


def open_all_data(configs: Mapping[str, RunConfig], console: Console) -> dict[str, ProxyData]:
    """The data of every side; the same, opened in the same way, only once."""
    opened: dict[str, ProxyData] = {}
    for side, config in configs.items():
        same = (opened[other] for other in opened if _opened_as(configs[other]) == _opened_as(config))
        opened[side] = next(same, None) or open_run_data(config, console)
    return opened


def _opened_as(config: RunConfig) -> tuple[DataSettings, int, bool]:
    return config.data, config.proxy_task.image_size, config.proxy_task.needs_masks


def _first(values: Mapping[str, _Value]) -> _Value:
    return next(iter(values.values()))
