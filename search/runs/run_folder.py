"""The folder of a run: where it is, and the run in it or in its mirror."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console

from spinesearch.results.ledger.ledger import LEDGER_NAME, STARTING_NAMES, Ledger, parse_ledger
from spinesearch.results.ledger.run import Run
from spinesearch.search.config.config_errors import ConfigError
from spinesearch.search.config.overrides import parse_overrides
from spinesearch.search.runs.mirror import Mirror, MirrorError
from spinesearch.search.warn import warn


class Placed(Protocol):
    """A configuration that says where its run goes: of a search or of a training."""

    @property
    def name(self) -> str | None:
        """Of the run's folder; None for one that is made up."""

    @property
    def label(self) -> str:
        """Part of a name that is made up."""

    @property
    def runs_dir(self) -> str:
        """Where runs go."""

    @property
    def mirror(self) -> str | None:
        """Where the run is copied to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a run goes, see `Placed`."""

    name: str | None
    label: str
    runs_dir: str
    mirror: str | None


def run_dir_of(config: Placed) -> Path:
    """Where a run goes: ``<runs_dir>/<name>``, or without a name a new folder of today's date, made here.

    Made, so that no other search that begins now takes it; `remove_unused` removes it if nothing began.

    Raises:
        ConfigError: as `planned_dir`.
    """
    run_dir = planned_dir(config)
    return run_dir if config.name is not None else _new_folder(run_dir.parent, run_dir.name)


def planned_dir(config: Placed) -> Path:
    """Where a run would go, a made-up name without the number that it may get. Nothing is made.

    Raises:
        ConfigError: the name is no plain folder name, or the folder holds something else than a run.
    """
    runs_dir = Path(config.runs_dir).expanduser()
    if runs_dir.exists() and not runs_dir.is_dir():
        raise ConfigError(f"runs_dir: {runs_dir} is not a folder")
    for key, text in (("name", config.name), ("label", config.label)):
        if text is not None and (text in ("", ".", "..") or "/" in text or "\0" in text):
            raise ConfigError(
                f"{key}: must be a plain folder name, got {text!r}; runs_dir sets where it goes"
            )
    if config.name is None:
        if config.mirror is not None:
            raise ConfigError("mirror: needs a name=..., by which another machine finds the run there")
        return runs_dir / f"{time.strftime('%Y-%m-%d')}_{config.label}"
    run_dir = runs_dir / config.name
    if run_dir.exists() and not run_dir.is_dir():
        raise ConfigError(f"name: {run_dir} is not a folder; choose another name")
    if has_run(run_dir) or not run_dir.exists():
        return run_dir
    # A search killed at its very start leaves its lock and lease, and perhaps an empty ledger.
    if any(path.name not in STARTING_NAMES for path in run_dir.iterdir()):
        raise ConfigError(f"name: {run_dir} exists and is not a run; choose another name")
    return run_dir


def _new_folder(parent: Path, name: str) -> Path:
    """A folder of this name, made now, with a number if there is one already."""
    parent.mkdir(parents=True, exist_ok=True)
    number, folder = 1, parent / name
    while True:
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
        number += 1
        folder = parent / f"{name}_{number}"


def remove_unused(config: Placed, run_dir: Path) -> None:
    """Remove a folder that `run_dir_of` made and in which nothing began, as after an error in the data."""
    if config.name is None:
        with contextlib.suppress(OSError):  # it holds something
            run_dir.rmdir()
            run_dir.parent.rmdir()


def has_run(run_dir: Path) -> bool:
    """Whether a search has begun in this folder."""
    ledger = run_dir / LEDGER_NAME
    return ledger.is_file() and ledger.stat().st_size > 0


def open_run(config: Placed, run_dir: Path, console: Console) -> tuple[Run, Ledger | None, Mirror | None]:
    """The run in a folder, from its mirror if that holds more; with its ledger, which the caller closes.

    Returns:
        The run, empty if it is to begin; its ledger, None if there is none yet; its mirror, None without one.

    Raises:
        LedgerError, RunInUseError, MirrorError: it cannot be resumed.
    """

    def report(line: str) -> None:
        console.print(line, soft_wrap=True, highlight=False)

    mirror = None if config.mirror is None else Mirror(config.mirror, run_dir.resolve().name)
    theirs = b"" if mirror is None else mirror.read()
    if not theirs and not has_run(run_dir):
        return Run(), None, mirror
    ledger = Ledger(run_dir, report=report)
    try:
        if mirror is not None:
            mirror.pull(ledger, theirs, run_dir, report)
        run = Run.from_events(run_dir / LEDGER_NAME, ledger.contents.events)
    except BaseException:
        ledger.close()
        raise
    if ledger.contents.torn:
        warn(console, ledger.contents.torn)
    return run, ledger, mirror


def fetch_run(url: str, overrides: Sequence[str], console: Console) -> tuple[Path, list[str]]:
    """The folder of a run that a mirror holds, brought to where that is, and the overrides to resume it with.

    Args:
        url: the mirror's of the run: ``<mirror>/<name>``.
        overrides: as given; ``runs_dir=...`` says where the run's folder goes, if not to where it was.
        console: for what is fetched.

    Raises:
        LedgerError, RunInUseError, MirrorError: it cannot be fetched.
    """
    run, remaining = mirrored_run(url, overrides)
    base, name = _mirror_and_name(url)
    places = [override.text() for override in parse_overrides(overrides) if override.key == "runs_dir"]
    runs_dir = (places or [run.config["runs_dir"]])[-1] or ""
    place = Place(name=name, label=run.config["label"], runs_dir=runs_dir, mirror=base)
    run_dir = run_dir_of(place)
    _, ledger, _ = open_run(place, run_dir, console)
    assert ledger is not None
    ledger.close()
    return run_dir, remaining


def mirrored_run(url: str, overrides: Sequence[str]) -> tuple[Run, list[str]]:
    """The run that a mirror holds, read there, and the overrides to resume it with; nothing is written.

    Args:
        url: the mirror's of the run: ``<mirror>/<name>``.
        overrides: as given.

    Raises:
        LedgerError, MirrorError: it cannot be read, or is none.
    """
    base, _ = _mirror_and_name(url)
    theirs = mirror_of(url).read()
    if not theirs:
        raise MirrorError(f"{url}: holds no run; give the mirror's URL and the run's name, MIRROR/NAME")
    run = Run.from_events(Path(url), parse_ledger(theirs, url).events)
    return run, [f"mirror={base}", *(text for text in overrides if not text.startswith("runs_dir="))]


def mirror_of(url: str) -> Mirror:
    """The mirror of a run by its own URL, ``<mirror>/<name>``.

    Raises:
        MirrorError: it cannot be one.
    """
    return Mirror(*_mirror_and_name(url))


def _mirror_and_name(url: str) -> tuple[str, str]:
    base, _, name = url.rstrip("/").rpartition("/")
    return base, name


def open_new_ledger(run_dir: Path, console: Console) -> Ledger:
    """The ledger of a run that begins now, empty; a line on the console says so if that takes a while.

    Raises:
        ConfigError: another process was faster.
    """
    ledger = Ledger(run_dir, report=lambda line: console.print(line, soft_wrap=True, highlight=False))
    if ledger.contents.events:
        ledger.close()
        raise ConfigError(
            f"{run_dir}: another process began this run meanwhile; give the command again to resume it"
        )
    return ledger
