"""A search that is not started: everything checked as if it were, and what it would take."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from spinesearch.results.ledger.ledger import parse_ledger
from spinesearch.results.ledger.run import Run, load_run
from spinesearch.search.config.run_config import RunConfig
from spinesearch.search.estimate.estimate import Estimate, Stated, stated_gpus_note
from spinesearch.search.estimate.line import workers_here
from spinesearch.search.estimate.measure import measured_pace
from spinesearch.search.estimate.pace import Pace
from spinesearch.search.estimate.search_estimate import search_estimate
from spinesearch.search.runs.mirror import Mirror
from spinesearch.search.runs.run_folder import Placed, has_run, planned_dir
from spinesearch.search.search_request import SearchRequest
from spinesearch.search.session import prepare
from spinesearch.search.warn import warn

_USUAL_WORKERS = (1, 8, 100)  # the last is what the paper had


def planned_search(config: RunConfig, console: Console, stated: Stated) -> tuple[Estimate, list[int]]:
    """What is left of a search as its command would carry it out, and numbers of workers worth a look.

    Data are opened, and packed into the cache if they are not; nothing else is written or started, but for
    the few steps that are measured.

    Raises:
        ConfigError, DataError: the command would fail.
    """

    def report(line: str) -> None:
        console.print(line, soft_wrap=True, highlight=False)

    run_dir = planned_dir(config)
    run = begun_run(config, run_dir)
    request = SearchRequest(config=config)
    if run.sessions:
        request = request.resumed(run, run_dir, console)
        config = request.config
    space, data, event, _ = prepare(request, run, run_dir, console, partial(warn, console))
    report(f"{run_dir}: {request.headline(space, data)}")
    num_images, workers = event["data"]["num_train_images"], workers_here(config)
    if stated.seconds is not None:
        num_steps = config.proxy_task.training_steps(num_images)
        pace = Pace(
            step_s=stated.seconds / num_steps,
            other_s=0.0,
            source=f"{stated.seconds:g} s a candidate, as stated",
            gpus_per_worker=1.0 if config.gpus_per_worker is None else config.gpus_per_worker,
        )
    else:
        pace, found = measured_pace(
            config, data[""], num_steps=stated.num_steps, report=report, begun=request.begun
        )
        workers = found or workers
    begun = run if run.sessions else Run(sessions=[event])
    estimate = search_estimate(
        config, pace, num_train_images=num_images, run=begun, duplicates=stated.duplicates
    )
    if stated.seconds is not None and pace.gpus_per_worker:
        note = stated_gpus_note(pace.gpus_per_worker, "search.gpus_per_trial=0")
        estimate = replace(estimate, notes=(*estimate.notes, note))
    return estimate, sorted({*_USUAL_WORKERS, *([workers] if workers else [])})


def begun_run(config: Placed, run_dir: Path) -> Run:
    """The run of a configuration as far as it is, here or in its mirror; nothing is fetched.

    Raises:
        LedgerError, MirrorError: it cannot be read.
    """
    if config.name is None:
        return Run()
    if has_run(run_dir):
        return load_run(run_dir)[0]
    theirs = b"" if config.mirror is None else Mirror(config.mirror, run_dir.resolve().name).read()
    return Run.from_events(run_dir, parse_ledger(theirs, run_dir).events) if theirs else Run()
