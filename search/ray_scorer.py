"""Candidates scored by long-lived Ray actors, one proxy task each."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from spinesearch.search.ray_cluster import cluster_resources
from spinesearch.search.scorer import EngineError, Job, OpenScore, Outcome, Score, run_job

_MAX_FAILED_STARTS = 5  # workers in a row that died before they were ready
_PATIENCE_S = 20.0  # without any worker before people are told what is missing


class _Worker:
    """A process that scores candidates, one at a time. Runs as a Ray actor."""

    def __init__(self) -> None:
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._score: Score | None = None

    def ping(self) -> None:
        """Nothing; that it answers shows that the worker is alive."""

    def open(self, open_score: OpenScore) -> str:
        """Open the proxy task; the worker's name."""
        self._score = open_score()
        return self._name

    def score(self, job: Job) -> Outcome:
        """Score a candidate; its own failure is an outcome too."""
        assert self._score is not None
        return run_job(self._score, job, self._name)


class RayScorer:
    """Scores candidates on Ray workers; a candidate whose worker dies is run again elsewhere.

    The process must be connected to Ray, see `ray_cluster.connect`.

    Args:
        open_score: opens the proxy task in each worker; picklable.
        num_workers: candidates at a time. Those the cluster has no room for start when it has.
        cpus_per_trial: processors per worker.
        gpus_per_trial: GPUs per worker; fractions share one.
        max_attempts: how often a candidate is started before it counts as failed.
        warn: told in one line of every worker that dies and why none starts.
    """

    def __init__(
        self,
        open_score: OpenScore,
        *,
        num_workers: int,
        cpus_per_trial: float,
        gpus_per_trial: float,
        max_attempts: int,
        warn: Callable[[str], None],
    ) -> None:
        self._open_score = ray.put(open_score)
        self._actor_class: Any = ray.remote(num_cpus=cpus_per_trial, num_gpus=gpus_per_trial)(_Worker)
        self._needs = f"{cpus_per_trial:g} CPU and {gpus_per_trial:g} GPU"
        self._max_attempts = max_attempts
        self._warn = warn
        self._queue: deque[Job] = deque()
        self._starting: dict[Any, Any] = {}  # ready reference -> actor
        self._idle: deque[Any] = deque()  # may have died since
        self._waking: dict[Any, Any] = {}  # ping reference -> actor that was idle
        self._running: dict[Any, tuple[Any, Job]] = {}  # outcome reference -> actor, job
        self._fatal: EngineError | None = None
        self._failed_starts = 0
        self._waiting_since: float | None = time.monotonic()
        for _ in range(num_workers):
            self._start_worker()

    @property
    def num_running(self) -> int:
        """Number of candidates on workers now."""
        return len(self._running)

    def submit(self, job: Job) -> None:
        """Queue a candidate, and start it if a worker is idle."""
        self._queue.append(job)
        self._wake()

    def wait(self, timeout_s: float) -> list[Outcome]:
        """Candidates that finished, after at most ``timeout_s``."""
        self._raise_if_fatal()
        self._wake()
        references = [*self._starting, *self._waking, *self._running]
        if not references:  # everybody is idle
            time.sleep(timeout_s)
            return []
        done, _ = ray.wait(references, num_returns=1, timeout=timeout_s)
        if done:  # and whatever else is ready by now
            done, _ = ray.wait(references, num_returns=len(references), timeout=0)
        outcomes = []
        for reference in done:
            if reference in self._starting:
                self._take_worker(reference)
            elif reference in self._waking:
                self._take_woken(reference)
            else:
                outcomes += self._take_outcome(reference)
        self._wake()
        self._tell_if_stuck()
        if not outcomes:
            self._raise_if_fatal()
        return outcomes

    def close(self) -> None:
        """Kill the workers, whatever they are doing."""
        actors = [*self._starting.values(), *self._idle, *self._waking.values()]
        actors += [actor for actor, _ in self._running.values()]
        self._queue.clear()
        self._starting.clear()
        self._idle.clear()
        self._waking.clear()
        self._running.clear()
        if ray.is_initialized():
            for actor in actors:
                ray.kill(actor)

    def _raise_if_fatal(self) -> None:
        if self._fatal is not None:
            raise self._fatal

    def _start_worker(self) -> None:
        actor = self._actor_class.remote()
        self._starting[actor.open.remote(self._open_score)] = actor

    def _wake(self) -> None:
        """Ask as many idle workers as there are candidates whether they live: one may have died unnoticed."""
        while self._idle and len(self._waking) < len(self._queue):
            actor = self._idle.popleft()
            self._waking[actor.ping.remote()] = actor

    def _give(self, actor: Any) -> None:
        """Hand the next candidate to a worker that has just answered."""
        if self._queue:
            job = self._queue.popleft()
            self._running[actor.score.remote(job)] = (actor, job)
        else:
            self._idle.append(actor)

    def _take_woken(self, reference: Any) -> None:
        """An idle worker answered, or has died; no candidate was its own yet."""
        actor = self._waking.pop(reference)
        try:
            ray.get(reference)
        except RayError:
            ray.kill(actor)
            self._start_worker()
            return
        self._give(actor)

    def _take_worker(self, reference: Any) -> None:
        """A worker is ready, or could not open the task, or died before it had."""
        actor = self._starting.pop(reference)
        try:
            ray.get(reference)
        except RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else error
            message = f"a worker could not open the proxy task: {_line(cause)}"
            ray.kill(actor)
            if self._starting or self._idle or self._waking or self._running:
                self._warn(f"{message}; going on without it")
            else:
                self._fatal = EngineError(message)
            return
        except RayError as error:
            self._failed_starts += 1
            if self._failed_starts >= _MAX_FAILED_STARTS:
                self._fatal = EngineError(
                    f"{self._failed_starts} workers in a row died while starting, the last: {_line(error)}"
                )
                return
            self._warn(f"a worker died while starting ({_line(error)}); another is started")
            self._start_worker()
            return
        self._failed_starts = 0
        self._waiting_since = None
        self._give(actor)

    def _take_outcome(self, reference: Any) -> list[Outcome]:
        """A candidate finished, or its worker died under it."""
        actor, job = self._running.pop(reference)
        try:
            outcome: Outcome = ray.get(reference)
        except RayError as error:
            # The worker's end, not the candidate's failure: that would be an outcome.
            ray.kill(actor)
            self._start_worker()
            if job.attempt >= self._max_attempts:
                reason = f"its worker died {job.attempt} times, the last: {_line(error)}"
                return [Outcome(trial=job.trial, metrics=None, reason=reason, attempts=job.attempt)]
            self._warn(
                f"trial {job.trial}: its worker died ({_line(error)}); "
                f"attempt {job.attempt + 1} of {self._max_attempts}"
            )
            self._queue.appendleft(job.again(_line(error)))
            return []
        self._give(actor)
        return [outcome]

    def _tell_if_stuck(self) -> None:
        """Say once what is missing when no worker has found a place for a while."""
        if self._waiting_since is not None and time.monotonic() - self._waiting_since > _PATIENCE_S:
            has = cluster_resources()
            self._warn(
                f"no worker is ready yet: each needs {self._needs}, the cluster has "
                f"{has.get('CPU', 0):g} CPU and {has.get('GPU', 0):g} GPU; still waiting"
            )
            self._waiting_since = None


def _line(error: BaseException) -> str:
    """The first telling line of an error; Ray's carry whole reports."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]
