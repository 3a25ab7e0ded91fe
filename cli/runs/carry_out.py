"""What the commands that train share: a search or a study to its end, and how it can end early."""

from __future__ import annotations

import contextlib
import shlex
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from spinesearch.cli.os_errors import named_files
from spinesearch.cli.parser import CommandError, fail, interrupt, print_next

if TYPE_CHECKING:
    from rich.console import Console

    from spinesearch.search.config.run_config import RunConfig
    from spinesearch.search.training.train_config import TrainConfig


def carry_out(
    config: RunConfig,
    run_dir: Path,
    console: Console,
    *,
    reranks: bool = False,
    retries: bool = False,
    says_next: bool = True,
) -> int:
    """Search to the end, and show what was found; returns the exit code.

    Args:
        config: the search's.
        run_dir: its folder.
        console: for everything but errors.
        reranks: only rank the best again.
        retries: try the failed candidates again first.
        says_next: say at the end which commands may follow.
    """
    from spinesearch.cli.networks.export import write_exports
    from spinesearch.cli.runs.show import print_best
    from spinesearch.results.ledger.run import ranked_trials
    from spinesearch.search.session import search

    folder = shlex.quote(str(run_dir))
    with ending(config, run_dir, console):
        run = search(config, run_dir, console, reranks=reranks, retries=retries)
        best = ranked_trials(run.trials)
        if not best:
            return fail(f"no candidate completed; `spinesearch show {folder}` shows why", code=1)
        console.print()
        print_best(run, console, top=min(max(config.search.export_top, 5), len(best)))
        if config.search.export_top:
            write_exports(run, run_dir, config.search.export_top, None, console=console)
            if config.mirror is not None:
                from spinesearch.search.watchers.mirror_observer import send_exports

                send_exports(config.mirror, run_dir, console)
    if not says_next:
        return 0
    num_trials = config.search.num_trials
    is_over = run.num_done >= num_trials
    goes_on = f"spinesearch resume {folder}" + (f" search.num_trials={2 * num_trials}" if is_over else "")
    print_next(
        console,
        {
            f"spinesearch show {folder}": "what was found",
            f"spinesearch report {folder}": "one page to look at and to send",
            f"spinesearch export {folder} --format onnx": "the best network for use elsewhere",
            f"spinesearch train {folder} --rank 1 data=coco ...": "the best network trained",
            goes_on: "on with more candidates",
        },
    )
    return 0


def new_run_dir(config: RunConfig | TrainConfig) -> Path:
    """The folder that a new run of this configuration is written to.

    Raises:
        ConfigError, FileError: it cannot be written there.
    """
    from spinesearch.search.runs.run_folder import run_dir_of

    with named_files({"runs_dir": Path(config.runs_dir)}):
        return run_dir_of(config)


@contextlib.contextmanager
def ending(config: RunConfig | TrainConfig, run_dir: Path, console: Console) -> Iterator[None]:
    """Carry out a run inside; where it ends early, show how to resume it.

    Raises:
        CommandError: it was interrupted, or its engine cannot continue.
        FileError: a file or folder cannot be used.
    """
    from spinesearch.search.runs.run_folder import has_run, remove_unused
    from spinesearch.search.scoring.scorer import EngineError

    signal.signal(signal.SIGTERM, interrupt)
    resume = f"spinesearch resume {shlex.quote(str(run_dir))}"
    try:
        with named_files(run_places(config, run_dir)):
            yield
    except KeyboardInterrupt:
        if has_run(run_dir):
            console.print(f"stopped; nothing finished is lost. Resume with:\n  {resume}")
        raise CommandError(130) from None
    except EngineError as error:
        raise CommandError(fail(f"{error} (then: {resume})", code=error.exit_code)) from error
    finally:
        remove_unused(config, run_dir)


def run_places(config: RunConfig | TrainConfig, run_dir: Path) -> Mapping[str, Path]:
    """Where a run reads and writes, by setting."""
    from spinesearch.data.cache import default_cache_dir
    from spinesearch.search.config.sections import DATA_PATHS

    places = {"runs_dir": run_dir}
    with contextlib.suppress(RuntimeError):  # there is no home folder, and nothing is cached in it
        places["data.cache_dir"] = Path(config.data.cache_dir or default_cache_dir())
    for name in DATA_PATHS:  # the cache's once more
        if path := getattr(config.data, name, None):
            places[f"data.{name}"] = Path(path)
    return places
