"""Work that is killed again and again, in forked children of a process that has imported everything.

A file whose last line is ``serve(work)`` is started by `Forks`; a child of it costs milliseconds, where a
process of its own would first import torch.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from spinesearch.results.ledger.ledger import LEDGER_NAME, read_ledger
from spinesearch.results.ledger.run import Run


def serve(work: Callable[[str], int]) -> None:
    """Carry out the lines of standard input until it ends, each in a child whose exit code is `work`'s.

    Answers with the child's process id and, when the child has ended, its exit code.
    """
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(work(line))
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


class Forks:
    """A process that serves, from entering to leaving.

    Args:
        file: of the module that does.
    """

    def __init__(self, file: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        assert self._answer() == "ready\n"
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate("", timeout=30)

    def carry_out(self, line: str, kill_after_s: float | None = None) -> int:
        """The exit code of a line's child, which is killed after so long if it has not ended before."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        child = int(self._answer())
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            with contextlib.suppress(ProcessLookupError):  # it has ended already
                os.kill(child, signal.SIGKILL)
        return int(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def check_kills(
    forks: Forks,
    folder: Path,
    line: Callable[[Path], str],
    everything: Callable[[Run], object],
    *,
    num_runs: int,
    least_killed: int,
) -> None:
    """Check that runs which are killed at up to three random moments, and resumed, end as one that is not.

    No result that is on record may be lost or change, and none may come twice.

    Args:
        forks: carry the runs out.
        folder: for their folders.
        line: that carries out the run in a folder.
        everything: about a run that must be the same.
        num_runs: that are killed.
        least_killed: how often that must have come in time.
    """
    rng = random.Random(7)
    started = time.monotonic()
    assert forks.carry_out(line(folder / "whole")) == 0
    whole_s = time.monotonic() - started
    whole = Run.from_events(folder, read_ledger(folder / "whole" / LEDGER_NAME).events)
    num_killed = 0
    for number in range(num_runs):
        run_dir = folder / str(number)
        finished: list[dict[str, object]] = []
        for _ in range(rng.randint(1, 3)):
            num_killed += forks.carry_out(line(run_dir), rng.uniform(0, whole_s)) == -signal.SIGKILL
            if (run_dir / LEDGER_NAME).exists():
                events = read_ledger(run_dir / LEDGER_NAME).events
                now = [dict(event) for event in events if event["event"] == "result"]
                assert now[: len(finished)] == finished
                finished = now
        assert forks.carry_out(line(run_dir)) == 0
        run = Run.from_events(run_dir, read_ledger(run_dir / LEDGER_NAME).events)  # refuses second results
        assert everything(run) == everything(whole)
    assert num_killed >= least_killed, "the kills came too late to prove anything"
