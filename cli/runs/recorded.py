"""What the commands on existing runs share: finding the run that is meant, and reading it."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from spinesearch.cli.os_errors import named_files

if TYPE_CHECKING:
    from rich.console import Console

    from spinesearch.results.ledger.run import Run

DEFAULT_RUNS_DIR = Path("runs")  # `runs_dir` of conf/config.yaml
_MAX_NAMED = 5  # runs that a message names


def find_run(text: str) -> Path:
    """The folder of the run that is meant: a path that exists, else a name in `DEFAULT_RUNS_DIR`.

    A path that is no run gives way to a run of that name.

    Args:
        text: as it was typed: a run's folder, its ledger, or its name.

    Raises:
        ValueError: there is no such folder, or it holds other runs.
    """
    from spinesearch.results.ledger.ledger import LEDGER_NAME
    from spinesearch.search.config.overrides import local_path

    if "://" in text and not text.startswith("file:"):
        raise ValueError(
            f"{text}: a run is read from its folder here; `spinesearch resume {text}` fetches it"
        )
    path = Path(local_path("RUN", text))
    if path.name == LEDGER_NAME and path.is_file():
        return path.parent
    named = named_run(text)
    if (named / LEDGER_NAME).exists() and not (path / LEDGER_NAME).exists():
        return named
    if path.exists():
        runs = [] if (path / LEDGER_NAME).exists() else runs_in(path)
        if runs:
            raise ValueError(f"{text}: is not a run but holds {_listed(runs)}; give one of them")
        return path
    if named.is_dir():
        return named
    nor = "" if path.is_absolute() else f", nor is there {named}"
    raise ValueError(f"{text}: is not a run: there is no such folder{nor}{_hint(path)}")


def open_recorded(
    text: str, overrides: list[str], console: Console, *, only_read: bool
) -> tuple[Run, Path, list[str]]:
    """The run that is to go on, its folder, and the overrides to continue it with.

    Args:
        text: as it was typed: what `find_run` takes, or the URL of a run's mirror, which is fetched.
        overrides: as given.
        console: for what is fetched.
        only_read: whether nothing is to be written, as for ``--cfg``.

    Raises:
        ValueError: there is no such run, or it cannot be read.
    """
    from spinesearch.results.ledger.run import load_run

    if "://" not in text:
        run_dir = find_run(text)
        with named_files({"RUN": run_dir}):
            return load_run(run_dir)[0], run_dir, overrides
    if only_read:
        from spinesearch.search.runs.run_folder import mirrored_run

        run, overrides = mirrored_run(text, overrides)
        return run, Path(text), overrides
    from spinesearch.search.runs.run_folder import fetch_run

    run_dir, overrides = fetch_run(text, overrides, console)
    return load_run(run_dir)[0], run_dir, overrides


def named_run(name: str) -> Path:
    """Where a run of this name is written if ``runs_dir`` is left as it is."""
    return DEFAULT_RUNS_DIR / name


def _hint(path: Path) -> str:
    """What may be meant by a run that is not there."""
    from spinesearch.space import SpecError
    from spinesearch.space.published import published

    with contextlib.suppress(SpecError):
        return f"; `spinesearch models {published(str(path)).name}` shows the published model"
    runs = runs_in(path.parent if path.parent.name else DEFAULT_RUNS_DIR)
    near = difflib.get_close_matches(path.name, [run.name for run in runs], n=1)
    return "".join(f"; did you mean {run}?" for run in runs if run.name in near)


def runs_in(folder: Path) -> list[Path]:
    """The runs in a folder, latest first."""
    from spinesearch.results.ledger.ledger import LEDGER_NAME

    with contextlib.suppress(OSError):
        ledgers = [path for path in folder.glob(f"*/{LEDGER_NAME}") if path.is_file()]
        return [path.parent for path in sorted(ledgers, key=os.path.getmtime, reverse=True)]
    return []


def _listed(runs: list[Path]) -> str:
    names = ", ".join(str(run) for run in runs[:_MAX_NAMED])
    return f"{names} and {len(runs) - _MAX_NAMED} more" if len(runs) > _MAX_NAMED else names


def read_run(run_dir: Path, options: argparse.Namespace) -> Run:
    """The run of a command that only reads; prints its configuration if that is requested."""
    from spinesearch.results.ledger.run import load_run

    with named_files({"RUN": run_dir}):
        run, torn = load_run(run_dir, emptied=("log_probs",))  # which only a search goes by
    if options.cfg:
        from spinesearch.search.config.as_yaml import to_yaml

        print(to_yaml(run.config), end="")
    elif torn:
        print(f"warning: {torn} (by this reader; the file is as it was)", file=sys.stderr)
    return run
