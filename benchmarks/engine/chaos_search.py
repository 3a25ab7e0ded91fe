"""The search that chaos.py disturbs: the real command with its loop, ledger and mirror.

Only training is left out: workers are processes of their own, to be killed and frozen, that compute a number.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import multiprocessing
import os
import random
import select
import socket
import subprocess
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from spinesearch.cli.main import main
from spinesearch.search import session
from spinesearch.search.loop.loop import run_loop
from spinesearch.search.scoring.scorer import BegunAttempt, Job, LostAttempt, Outcome, ScorerEvent
from spinesearch.search.workers.trial_timeout import PatientClock, TrialTimeout
from spinesearch.space import ArchSpec

_NUM_WORKERS = 3
_TIMEOUT_S = 2.0  # after which a candidate is taken to hang

# One network in nine fails, as candidates do.
_WORKER = """
import hashlib, sys, time
for line in sys.stdin:
    arch_id, seed, seconds = line.split()
    time.sleep(float(seconds))
    value = int(hashlib.sha256((arch_id + seed).encode()).hexdigest()[:8], 16)
    print("failed" if value % 9 == 0 else value / 2**32, flush=True)
"""


class Circumstances(ctypes.Structure):
    """What a driver shares with who disturbs it, made by `multiprocessing.RawValue`.

    Attributes:
        offset_s: by which its wall clock is wrong.
        longest_s: time a candidate may take; the times are random, and differ at every start.
        end: no candidate from this one on is given to a worker.
    """

    _fields_ = (("offset_s", ctypes.c_double), ("longest_s", ctypes.c_double), ("end", ctypes.c_double))

    def now(self, real_time: Callable[[], float]) -> float:
        """The wall clock, in seconds."""
        return real_time() + float(self.offset_s)


class ProcessScorer:
    """Scores candidates on processes; one whose process is lost or hangs is given to another.

    Args:
        num_workers: processes.
        timeout: when a candidate is taken to hang.
        circumstances: how long candidates take, and how far it may go.
    """

    def __init__(self, *, num_workers: int, timeout: TrialTimeout, circumstances: Circumstances) -> None:
        self._num_workers = num_workers
        self._rng = random.Random(os.getpid())
        self._timeout = timeout
        self._circumstances = circumstances
        self._clock = PatientClock()
        self._queue: deque[Job] = deque()
        self._idle: list[subprocess.Popen[str]] = []
        self._begun: list[tuple[subprocess.Popen[str], Job]] = []  # reported, and given by the next `wait`
        self._running: dict[Any, tuple[subprocess.Popen[str], Job, float]] = {}  # by what it prints to

    @property
    def num_running(self) -> int:
        """Number of candidates on workers now."""
        return len(self._running)

    def submit(self, job: Job) -> None:
        """Queue a candidate."""
        self._queue.append(job)

    def wait(self, timeout_s: float) -> list[ScorerEvent]:
        """What begins and what ended, after at most ``timeout_s``."""
        for worker, job in self._begun:
            self._give(worker, job)
        self._begun.clear()
        while len(self._idle) + len(self._running) < self._num_workers:
            self._idle.append(_start_worker())
        while self._idle and self._queue and self._queue[0].trial < self._circumstances.end:
            self._begun.append((self._idle.pop(), self._queue.popleft()))
        limit_s = self._timeout.limit_s()
        patience_s = 0.0 if self._begun else min(timeout_s, limit_s / 2)
        ready, _, _ = select.select(list(self._running), [], [], patience_s)
        ended: list[ScorerEvent] = [self._take(output) for output in ready]
        for output, (worker, job, began) in list(self._running.items()):
            if self._clock() - began > limit_s:
                del self._running[output]
                ended.append(self._lost(worker, job, began, "timed out"))
        return ended + [_begun_attempt(worker, job) for worker, job in self._begun]

    def close(self) -> None:
        """Kill the workers."""
        running = [worker for worker, _, _ in self._running.values()]
        for worker in [*self._idle, *running, *(worker for worker, _ in self._begun)]:
            worker.kill()

    def _give(self, worker: subprocess.Popen[str], job: Job) -> None:
        assert worker.stdin is not None
        assert isinstance(job.spec, ArchSpec)
        seconds = self._rng.uniform(0, self._circumstances.longest_s)
        with contextlib.suppress(BrokenPipeError):  # it died idle; `_take` finds the end of its output
            worker.stdin.write(f"{job.spec.arch_id} {job.seed} {seconds}\n")
            worker.stdin.flush()
        self._running[worker.stdout] = (worker, job, self._clock())

    def _take(self, output: Any) -> Outcome | LostAttempt:
        worker, job, began = self._running.pop(output)
        line = output.readline()
        if not line:
            return self._lost(worker, job, began, "its process died")
        self._idle.append(worker)
        failed = line == "failed\n"
        return Outcome(
            trial=job.trial,
            metrics=None if failed else {"ap": float(line)},
            reason="it does" if failed else "",
            attempts=job.attempt,
            worker=f"{socket.gethostname()}:{worker.pid}",
            seconds=self._clock() - began,
        )

    def _lost(self, worker: subprocess.Popen[str], job: Job, began: float, reason: str) -> LostAttempt:
        worker.kill()
        self._queue.appendleft(job.again(reason))
        return LostAttempt(
            trial=job.trial,
            attempt=job.attempt,
            reason=reason,
            node=socket.gethostname(),
            worker=str(worker.pid),
            seconds=self._clock() - began,
        )


def _begun_attempt(worker: subprocess.Popen[str], job: Job) -> BegunAttempt:
    return BegunAttempt(
        trial=job.trial, attempt=job.attempt, node=socket.gethostname(), worker=str(worker.pid)
    )


def _is_worker(pid: str) -> bool:
    """Whether it runs the worker's program; before, it is a copy of the driver, which waits for it."""
    try:
        return _WORKER.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _start_worker() -> subprocess.Popen[str]:
    command = [sys.executable, "-I", "-S", "-c", _WORKER]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


class Driver:
    """A forked process that begins or continues a run by the command that a user would give.

    Args:
        command: of `spinesearch`.
        circumstances: shared with it.
    """

    def __init__(self, command: list[str], circumstances: Circumstances) -> None:
        context = multiprocessing.get_context("fork")
        self._output, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_drive, args=(command, circumstances, theirs))
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """Of its process, and of the group that its workers are in."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def workers(self) -> list[int]:
        """The process ids of its workers, without those that are not quite started."""
        try:
            pids = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii").split()
        except OSError:
            return []
        return [int(pid) for pid in pids if _is_worker(pid)]

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._end()

    def finish(self, timeout_s: float) -> tuple[int, str] | None:
        """Its exit code and the last line it printed, when it has ended; None if it does not in time."""
        self._process.join(timeout_s)
        if self._process.exitcode is None:
            return None
        lines = self._output.recv().splitlines() if self._output.poll() else []
        self._end()
        return self._process.exitcode, lines[-1] if lines else ""

    def _end(self) -> None:
        """Wait for the process, and end workers that it could not end, as those that are frozen."""
        self._process.join()
        self._output.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, 9)


def _drive(command: list[str], circumstances: Circumstances, output: Connection) -> None:
    os.setsid()
    sys.stdout = sys.stderr = text = io.StringIO()  # on a full disk too
    time.time = functools.partial(circumstances.now, time.time)
    vars(session).update(
        open_run_data=lambda config, console: _NO_DATA,
        open_scorer=functools.partial(_open_scorer, circumstances),
        run_loop=functools.partial(run_loop, clock=time.time),
    )
    try:
        code = main(command)
    except BaseException:
        traceback.print_exc()
        code = 70
    output.send(text.getvalue()[-2000:])  # no more than fits into a pipe that is not read yet
    output.close()
    os._exit(code)


_NO_DATA = SimpleNamespace(
    key="none",
    train_index=np.zeros(0, np.int64),
    scored=SimpleNamespace(held_out_index=()),
    score_set=None,
    split_by="none",
    class_names=(),
    num_classes=0,
)


@contextlib.contextmanager
def _open_scorer(
    circumstances: Circumstances, config: Any, data: Any, *, warn: Callable[[str], None], known: Any
) -> Iterator[ProcessScorer]:
    scorer = ProcessScorer(
        num_workers=_NUM_WORKERS, timeout=TrialTimeout(_TIMEOUT_S), circumstances=circumstances
    )
    try:
        yield scorer
    finally:
        scorer.close()
