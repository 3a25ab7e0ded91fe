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

from spinesearch.search.scorer import EngineError, Job, OpenScore, Outcome, Score, run_job

_CONNECT_TIMEOUT_S = 5.0  # Ray itself waits 100 s for an address where nobody listens
_MAX_FAILED_STARTS = 5  # workers in a row that died before they were ready
_PATIENCE_S = 20.0  # without any worker before people are told what is missing
_OBJECT_STORE_BYTES = 80 * 1024**2  # specs and metrics only; Ray's least


def connect(address: str, *, num_cpus: float) -> bool:
    """Connect this process to Ray.

    Args:
        address: ``local`` for a Ray of our own, ``auto`` for the cluster of this machine, or ``HOST:PORT``. A
            process that is connected already stays so.
        num_cpus: processors that a Ray of our own must offer, even if the machine has fewer.

    Returns:
        Whether a connection was made, so that `disconnect` should end it.

    Raises:
        EngineError: nobody listens at the address, or the cluster refuses.
    """
    if ray.is_initialized():
        return False
    # Workers without a GPU of their own are told to use the CPU, so Ray need not hide the GPUs from them;
    # unset, it warns.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address == "local":
            ray.init(
                address="local",
                num_cpus=max(os.cpu_count() or 1, round(num_cpus)),
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=False,
                **quiet,
            )
        else:
            _check_listening(address)
            ray.init(address=address, **quiet)
    except (ConnectionError, OSError, RuntimeError, ValueError, RayError) as error:
        reason = " ".join(str(error).split())
        hint = "start one with `ray start --head`, or use search.ray_address=local"
        raise EngineError(f"search.ray_address: no Ray at {address!r}: {reason}; {hint}") from error
    return True


def disconnect() -> None:
    """Leave Ray; one of our own ends with that."""
    ray.shutdown()


def resources_per_trial(cpus: float, gpus: float | None) -> tuple[float, float]:
    """Processors and GPUs of one worker on the connected cluster.

    Args:
        cpus: processors per worker.
        gpus: GPUs per worker; None for 1 where the cluster has any, else 0.

    Raises:
        EngineError: more GPUs are asked for than the cluster has.
    """
    available = _cluster_resources().get("GPU", 0.0)
    if gpus is None:
        return cpus, 1.0 if available else 0.0
    if gpus > available:
        raise EngineError(
            f"search.gpus_per_trial: {gpus:g} asked for, but this Ray has {available:g} GPUs; "
            "use search.gpus_per_trial=0 to train on processors"
        )
    return cpus, gpus


def workers_that_fit(cpus: float, gpus: float) -> int:
    """How many workers the connected cluster has room for, at least 1."""
    resources = _cluster_resources()
    fits = int(resources.get("CPU", 1.0) / cpus + 1e-6)
    if gpus:
        fits = min(fits, int(resources.get("GPU", 0.0) / gpus + 1e-6))
    return max(1, fits)


class _Worker:
    """A process that scores candidates, one at a time. Runs as a Ray actor."""

    def __init__(self) -> None:
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._score: Score | None = None

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

    The process must be connected to Ray, see `connect`.

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
        self._idle: deque[Any] = deque()
        self._running: dict[Any, tuple[Any, Job]] = {}  # outcome reference -> actor, job
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
        self._assign()

    def wait(self, timeout_s: float) -> list[Outcome]:
        """Candidates that finished, after at most ``timeout_s``."""
        self._assign()
        references = [*self._starting, *self._running]
        done, _ = ray.wait(references, num_returns=1, timeout=timeout_s)
        if done:  # and whatever else is ready by now
            done, _ = ray.wait(references, num_returns=len(references), timeout=0)
        outcomes = []
        for reference in done:
            if reference in self._starting:
                self._take_worker(reference)
            else:
                outcomes += self._take_outcome(reference)
        self._assign()
        self._tell_if_stuck()
        return outcomes

    def close(self) -> None:
        """Kill the workers, whatever they are doing."""
        actors = [*self._starting.values(), *self._idle, *(actor for actor, _ in self._running.values())]
        self._queue.clear()
        self._starting.clear()
        self._idle.clear()
        self._running.clear()
        if ray.is_initialized():
            for actor in actors:
                ray.kill(actor)

    def _start_worker(self) -> None:
        actor = self._actor_class.remote()
        self._starting[actor.open.remote(self._open_score)] = actor

    def _assign(self) -> None:
        while self._queue and self._idle:
            actor, job = self._idle.popleft(), self._queue.popleft()
            self._running[actor.score.remote(job)] = (actor, job)

    def _take_worker(self, reference: Any) -> None:
        """A worker is ready, or died before it was."""
        actor = self._starting.pop(reference)
        try:
            ray.get(reference)
        except RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else error
            raise EngineError(f"a worker could not open the proxy task: {_line(cause)}") from error
        except RayError as error:
            self._failed_starts += 1
            if self._failed_starts >= _MAX_FAILED_STARTS:
                raise EngineError(
                    f"{self._failed_starts} workers in a row died while starting, the last: {_line(error)}"
                ) from error
            self._warn(f"a worker died while starting ({_line(error)}); another is started")
            self._start_worker()
            return
        self._failed_starts = 0
        self._waiting_since = None
        self._idle.append(actor)

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
            self._queue.appendleft(job.again())
            return []
        self._idle.append(actor)
        return [outcome]

    def _tell_if_stuck(self) -> None:
        """Say once what is missing when no worker has found a place for a while."""
        if self._waiting_since is not None and time.monotonic() - self._waiting_since > _PATIENCE_S:
            has = _cluster_resources()
            self._warn(
                f"no worker is ready yet: each needs {self._needs}, the cluster has "
                f"{has.get('CPU', 0):g} CPU and {has.get('GPU', 0):g} GPU; still waiting"
            )
            self._waiting_since = None


def _check_listening(address: str) -> None:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        if address == "auto":
            return
        raise ValueError("an address is local, auto or HOST:PORT")
    with socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT_S):
        pass


def _cluster_resources() -> dict[str, float]:
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources


def _line(error: BaseException) -> str:
    """The first telling line of an error; Ray's carry whole reports."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]
