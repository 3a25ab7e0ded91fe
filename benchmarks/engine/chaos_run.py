"""The run that chaos.py disturbs, seen from outside: its driver, its ledger and its mirror."""

from __future__ import annotations

import math
import multiprocessing
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chaos_search import Circumstances, Driver

from spinesearch.results.ledger.ledger import LEDGER_NAME, parse_ledger, read_ledger
from spinesearch.search.runs.mirror import Mirror

TRIALS_PER_FAULT = 4
_TRIALS_AHEAD = 40  # so far the search may get before the next fault, so that each hits one at work
_LONGEST_S = 0.4  # that a candidate takes
_PATIENCE_S = 60.0  # for what should happen next, on a busy machine
_POLL_S = 0.01

Recorded = list[dict[str, Any]]


class NotSurvivedError(Exception):
    """The search did not continue as it should; the message says how."""


def recorded(ledger_path: Path) -> Recorded:
    """Proposals, results and updates in the order of trials, without who was at work, when and how often.

    One that stands twice stands twice here.
    """
    kinds = ("propose", "result", "update")
    passing = ("time", "node", "worker", "seconds", "attempts")
    events = [event for event in read_ledger(ledger_path).events if event["event"] in kinds]
    kept = [{key: value for key, value in event.items() if key not in passing} for event in events]
    return sorted(
        kept, key=lambda event: (kinds.index(event["event"]), event.get("trial", event.get("update")))
    )


def num_trials_for(num_faults: int) -> int:
    """As many candidates as there have to be for so many faults; some are left when the last is over."""
    return TRIALS_PER_FAULT * num_faults + 2 * _TRIALS_AHEAD


def carry_out_undisturbed(folder: Path, num_trials: int) -> Recorded:
    """What the ledger holds after an undisturbed run."""
    circumstances = multiprocessing.RawValue(Circumstances, 0, 0, math.inf)
    driver = Driver(_command(folder, "undisturbed", num_trials), circumstances)
    ended = driver.finish(10 * _PATIENCE_S)
    if ended is None or ended[0]:
        raise NotSurvivedError(f"an undisturbed run does not end well: {ended}")
    return recorded(folder / "runs" / "undisturbed" / LEDGER_NAME)


def _command(folder: Path, name: str, num_trials: int) -> list[str]:
    settings = {"runs_dir": folder / "runs", "name": name, "mirror": f"file://{folder}/mirror"}
    settings |= {"search.num_trials": num_trials, "search.max_failed_share": 1, "search.export_top": 0}
    settings |= {"search.finalists": 0, "search.reward_metric": "ap"}  # which is all that workers score
    return ["search", *(f"{key}={value}" for key, value in settings.items())]


class DisturbedRun:
    """A run that faults are inflicted on.

    Args:
        folder: for it and its mirror.
        num_trials: candidates.
        rng: chooses instants and places.

    Attributes:
        rng: the same.
        run_dir: the run's folder.
        ledger_path: its ledger.
        mirror_dir: where its mirror is.
        circumstances: of its driver.
        num_drivers: how many processes have carried it out so far.
    """

    def __init__(self, folder: Path, num_trials: int, rng: random.Random) -> None:
        self._folder = folder
        self._command = _command(folder, "run", num_trials)
        self.rng = rng
        self.run_dir = folder / "runs" / "run"
        self.ledger_path = self.run_dir / LEDGER_NAME
        self.mirror_dir = folder / "mirror"
        self.circumstances = multiprocessing.RawValue(Circumstances, 0, _LONGEST_S, _TRIALS_AHEAD)
        self.num_drivers = 0
        self._driver: Driver | None = None
        self._safe = b""  # the ledger's lines that must not be lost
        self._num_faults_away = 0  # after which the mirror comes back

    @property
    def url(self) -> str:
        """Where the mirror is, for the command."""
        return f"file://{self.mirror_dir}"

    def new_driver(self) -> Driver:
        """Another process that is given the command."""
        self.num_drivers += 1
        return Driver(self._command, self.circumstances)

    def driver(self) -> Driver:
        """The one that carries the run out, started if there is none."""
        if self._driver is None:
            self._driver = self.new_driver()
        return self._driver

    def busy_driver(self) -> Driver:
        """The same, when it has workers; so the run is its own."""
        self._wait(lambda: bool(self.driver().workers()), "no worker is started")
        return self.driver()

    def kill_driver(self) -> None:
        """SIGKILL, if there is one."""
        if self._driver is not None:
            self._driver.kill()
            self._driver = None

    def ends_with(self, code: int, line: str) -> None:
        """Check that the driver ends by itself, with this code and a last line that has ``line`` in it."""
        self.circumstances.end = math.inf  # until then it must not have to wait
        ended = self.driver().finish(_PATIENCE_S)
        if ended is None or ended[0] != code or line not in ended[1]:
            raise NotSurvivedError(f"the search should have ended with {line!r}, got {ended}")
        self._driver = None

    def go_on(self, num_results: int) -> None:
        """Let the search get as far as this; it is started if need be, and must not end.

        Raises:
            NotSurvivedError: it does not.
        """
        if self._num_faults_away:
            self._num_faults_away -= 1
            if not self._num_faults_away:
                self.mirror_returns()
        self.circumstances.end = num_results + _TRIALS_AHEAD
        self._wait(lambda: self._look() >= num_results, f"the search does not get to result {num_results}")

    def end(self) -> None:
        """Let the search get to its end.

        Raises:
            NotSurvivedError: it does not, or has lost something.
        """
        self.mirror_returns()
        self.ends_with(0, "search.num_trials=")
        self._look()

    def recorded(self) -> Recorded:
        """What the ledger holds."""
        return recorded(self.ledger_path)

    def forget_last_line(self, num_bytes: int) -> None:
        """The ledger's last line was damaged: of what is safe, only the first bytes are."""
        self._safe = self._safe[:num_bytes]

    def forget_folder(self) -> None:
        """The run's folder is gone: safe is what the mirror has."""
        self._safe = Mirror(f"file://{self._aside if self.is_mirror_away else self.mirror_dir}", "run").read()

    @property
    def is_mirror_away(self) -> bool:
        """Whether the mirror can be neither read nor written."""
        return bool(self._num_faults_away)

    def mirror_leaves(self, num_faults: int) -> None:
        """From now on, until so many more faults are over, the mirror can be neither read nor written."""
        self.mirror_returns()
        self._num_faults_away = num_faults
        self.mirror_dir.mkdir(exist_ok=True)
        self.mirror_dir.rename(self._aside)
        self.mirror_dir.touch()  # a file is not a folder, not even for root

    def mirror_returns(self) -> None:
        """The mirror is there again, as it was."""
        self._num_faults_away = 0
        if self._aside.exists():
            self.mirror_dir.unlink()
            self._aside.rename(self.mirror_dir)

    def close(self) -> None:
        """End what still runs."""
        self.kill_driver()

    def remove(self) -> None:
        """Remove all files."""
        shutil.rmtree(self._folder)

    @property
    def _aside(self) -> Path:
        return self._folder / "mirror, away"

    def _look(self) -> int:
        """Number of results in the ledger.

        Raises:
            NotSurvivedError: something that was there is gone.
        """
        try:
            data = self.ledger_path.read_bytes()
        except FileNotFoundError:
            data = b""
        if not data and not self.run_dir.exists():  # not fetched from the mirror yet
            return 0
        whole = data[: data.rfind(b"\n") + 1]
        if whole.startswith(self._safe):
            self._safe = whole
        elif not self._safe.startswith(whole):
            raise NotSurvivedError(f"the ledger lost or changed some of its first {len(self._safe)} bytes")
        return sum(event["event"] == "result" for event in parse_ledger(whole, self.ledger_path).events)

    def _wait(self, is_so: Callable[[], bool], problem: str) -> None:
        """Return when something is so, while a driver runs; one that finds the mirror away gets it back."""
        end = time.monotonic() + _PATIENCE_S
        while not is_so():
            driver = self.driver()
            if not driver.is_running:
                ended = driver.finish(_PATIENCE_S)
                self._driver = None
                refused = ended is not None and ended[0] == 2 and "mirror: " in ended[1]
                if not refused or not self.is_mirror_away:
                    raise NotSurvivedError(f"the search ended: {ended}")
                self.mirror_returns()
            if time.monotonic() > end:
                raise NotSurvivedError(problem)
            time.sleep(_POLL_S)
