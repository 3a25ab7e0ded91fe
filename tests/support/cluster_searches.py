"""The real command on a cluster, in processes to be killed, and what it left."""

from __future__ import annotations

import functools
import itertools
import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any
from unittest import mock

from fake_scorer import fake_score

from spinesearch.cli.main import main
from spinesearch.results.ledger.ledger import LEDGER_NAME, read_ledger
from spinesearch.results.ledger.lines import Event
from spinesearch.search import engine, session
from spinesearch.search.loop.loop import run_loop
from spinesearch.search.scoring.scorer import OpenScore, Score
from spinesearch.space import ArchSpec


def open_marked(
    marks: Path, seconds: float, gate: Path | None, deadly: frozenset[str], closed: frozenset[str]
) -> Score:
    """Scores as the fake does, after a while, and notes in a file what it begins, and with what.

    With a gate it waits until there is such a file. On a deadly node it kills its process instead of scoring;
    on a closed one it cannot be opened.
    """
    import ray

    node_id = ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""
    if node_id in closed:
        raise FileNotFoundError("data.train_images: stale file handle")

    def score(spec: ArchSpec, seed: int) -> dict[str, float]:
        mark = {
            "arch_id": spec.arch_id,
            "pid": os.getpid(),
            "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        }
        with marks.open("a") as file:  # one write at the end of the file, however many processes
            file.write(json.dumps(mark) + "\n")
        if node_id in deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(seconds)
        while gate is not None and not gate.exists():
            time.sleep(0.05)
        return fake_score(spec, seed)

    return score


@dataclass(frozen=True, kw_only=True, slots=True)
class Driver:
    """A process that runs the command line.

    Attributes:
        process: it.
        log: what it printed.
    """

    process: ForkServerProcess
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text()

    def finish(self, timeout_s: float = 120) -> int:
        """Its exit code, when it has ended."""
        self.process.join(timeout_s)
        assert self.process.exitcode is not None, f"still running: {self.output}"
        return self.process.exitcode

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.join()


class Searches:
    """Searches of one test, by the command that a user would give; all have the same candidates.

    Args:
        folder: for runs and marks.
        settings: overrides that all have.
        environ: changes of the environment.
    """

    def __init__(self, folder: Path, settings: list[str], environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.run_dir = folder / "runs" / "run"
        self.marks = folder / "marks"
        self._settings = settings
        self._environ = dict(environ)
        self._drivers: list[Driver] = []

    def start(
        self,
        *overrides: str,
        seconds: float = 0.0,
        gate: Path | None = None,
        clock: Callable[[], float] | None = None,
        deadly: Any = None,
        closed: Any = None,
    ) -> Driver:
        """Begin or continue the run.

        Args:
            overrides: settings of this process.
            seconds: that a candidate takes.
            gate: the file without which none ends.
            clock: in place of the wall clock.
            deadly: a node whose workers die as soon as they begin a candidate.
            closed: a node on which the data cannot be opened.
        """
        nodes = (frozenset((node.node_id,) if node else ()) for node in (deadly, closed))
        log = self.folder / f"log-{len(self._drivers)}"
        log.touch()
        command = ["search", *self._settings, f"runs_dir={self.run_dir.parent}", "name=run", *overrides]
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["cluster_searches", "spinesearch.controller.reinforce"])
        open_score = functools.partial(open_marked, self.marks, seconds, gate, *nodes)
        process = context.Process(
            target=run_command, args=(command, open_score, log, self._environ, clock), daemon=True
        )
        process.start()
        driver = Driver(process=process, log=log)
        self._drivers.append(driver)
        return driver

    def wait_for(self, is_so: Callable[[], Any], what: str, timeout_s: float = 90) -> None:
        """Return when something is so; the newest driver must be running."""
        driver = self._drivers[-1]
        end = time.monotonic() + timeout_s
        while not is_so():
            assert driver.process.is_alive(), f"ended before {what}: {driver.output}"
            assert time.monotonic() < end, f"no {what} in time: {driver.output}"
            time.sleep(0.05)

    def events(self, kind: str) -> list[Event]:
        """The events of a kind that the ledger holds now."""
        path = self.run_dir / LEDGER_NAME
        events = read_ledger(path).events if path.exists() else ()
        return [event for event in events if event["event"] == kind]

    def lost(self) -> list[Event]:
        """The attempts that were lost, by the ledger as it is now."""
        return [event for event in self.events("attempt") if not event.get("begin")]

    def wait_for_lost(self, count: int) -> None:
        """Return when the ledger holds so many lost attempts."""
        self.wait_for(lambda: len(self.lost()) >= count, f"{count} lost attempts")

    def wait_for_events(self, kind: str, count: int) -> None:
        """Return when the ledger holds so many events of a kind."""
        self.wait_for(lambda: len(self.events(kind)) >= count, f"{count} {kind} events")

    def wait_for_begun(self, count: int) -> None:
        """Return when workers have begun so many candidates."""
        self.wait_for(lambda: len(self.begun()) >= count, f"{count} candidates that begin")

    def begun(self) -> list[dict[str, Any]]:
        """What workers noted when they began a candidate, in order."""
        lines = self.marks.read_text().splitlines() if self.marks.exists() else []
        return [json.loads(line) for line in lines]

    def num_begun(self) -> Counter[str]:
        """How often each network was begun."""
        return Counter(mark["arch_id"] for mark in self.begun())

    def close(self) -> None:
        """Kill what still runs."""
        for driver in self._drivers:
            driver.kill()


def recorded(run_dir: Path) -> list[dict[str, Any]]:
    """All proposals, results and updates of a run, without who did them, when, and in which attempt.

    In the order of trials, so that what was scored at once may arrive in any order. A trial or update that
    stands twice stands twice here.
    """
    kinds = ("propose", "result", "update")
    events = [event for event in read_ledger(run_dir / LEDGER_NAME).events if event["event"] in kinds]
    passing = ("time", "node", "worker", "seconds", "attempts")
    kept = [{key: value for key, value in event.items() if key not in passing} for event in events]
    return sorted(
        kept, key=lambda event: (kinds.index(event["event"]), event.get("trial", event.get("update")))
    )


def run_command(
    command: list[str],
    open_score: OpenScore,
    log: Path,
    environ: Mapping[str, str],
    clock: Callable[[], float] | None,
) -> None:
    """The command line in this process, a forked one, with candidates scored without training."""
    os.setsid()
    os.environ.update(environ)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    engine.open_proxy_score = functools.partial(_open_instead, open_score)  # on Ray's workers
    engine.proxy_score = functools.partial(_open_instead, open_score)  # in this process
    if clock is not None:
        session.run_loop = functools.partial(_search_by, clock)
    raise SystemExit(main(command))


def _open_instead(open_score: OpenScore, *proxy_task: object, **options: object) -> Score:
    return open_score()


def _search_by(clock: Callable[[], float], **search: Any) -> None:
    with mock.patch.object(time, "time", clock):  # not before: Ray's connecting goes by it
        run_loop(**search, clock=clock)


class JumpingClock:
    """A wall clock that is set, by a month at most, at every look: forwards and backwards."""

    def __init__(self) -> None:
        self._days = itertools.cycle((0, 30, -7, 1, -30, 0.5))
        self._real = time.time

    def __call__(self) -> float:
        return self._real() + 86400 * next(self._days)
