"""Who scores candidates: the `Scorer` protocol, and `SerialScorer`, which does it in this process."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from spinesearch.results.ledger.trial import Trial
from spinesearch.space import ArchSpec, ResNetSpec

Score = Callable[[ArchSpec | ResNetSpec, int], Mapping[str, Any]]
"""Metrics by name of an architecture trained with a seed; raises if the candidate fails."""


@runtime_checkable
class SteppedScore(Protocol):
    """A `Score` whose training takes steps, and says so.

    Attributes:
        on_step: called after every step with its number, from 0; from 0 again if the training starts over.
    """

    on_step: Callable[[int], None]

    def __call__(self, spec: ArchSpec | ResNetSpec, seed: int) -> Mapping[str, Any]:
        """As a `Score`."""


OpenScore = Callable[[], Score]
"""Opens the proxy task, data set and all, and gives its `Score`. Called once per worker."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A candidate to be scored.

    Attributes:
        trial: its number.
        spec: its architecture.
        seed: of its training.
        attempt: how often it has been started, this time included.
        last_reason: why the attempt before this one was lost.
        lost_on: nodes on which attempts were lost.
    """

    trial: int
    spec: ArchSpec | ResNetSpec
    seed: int
    attempt: int = 1
    last_reason: str = ""
    lost_on: frozenset[str] = frozenset()

    def again(self, reason: str, node: str = "") -> Job:
        """The next attempt at the same candidate, whose worker was lost on this node."""
        return replace(
            self, attempt=self.attempt + 1, last_reason=reason, lost_on=self.lost_on | {node} - {""}
        )


def job_of(trial: Trial, spec: ArchSpec | ResNetSpec, seed: int) -> Job:
    """The job of a trial without a result; the attempts on record count."""
    return Job(
        trial=trial.trial,
        spec=spec,
        seed=seed,
        attempt=len(trial.lost) + 1,
        last_reason=trial.lost[-1].reason if trial.lost else "",
        lost_on=frozenset(attempt.node for attempt in trial.lost),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What scoring a candidate came to.

    Attributes:
        trial: the candidate's number.
        metrics: by name; None if it failed.
        reason: why it failed.
        attempts: how often it was started.
        node: where it was scored.
        worker: who scored it.
        seconds: wall time of the last attempt.
        is_lost: whether every attempt lost its worker, so that nothing is known of the candidate.
    """

    trial: int
    metrics: Mapping[str, Any] | None
    reason: str = ""
    attempts: int = 1
    node: str = ""
    worker: str = ""
    seconds: float = 0.0
    is_lost: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class LostAttempt:
    """A start of a candidate that came to nothing, as its worker was lost; not the candidate's failure.

    The fields are those of `spinesearch.results.ledger.run.Attempt`.
    """

    trial: int
    attempt: int
    reason: str
    node: str
    worker: str
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class BegunAttempt:
    """A candidate is about to be given to a worker, which it may take down, and the driver's machine too.

    Attributes:
        trial: the candidate's number.
        attempt: which start of it this is, from 1.
        node: where it will run.
        worker: which process will run it.
    """

    trial: int
    attempt: int
    node: str
    worker: str


ScorerEvent = Outcome | LostAttempt | BegunAttempt
"""What a scorer reports of a candidate."""


class EngineError(RuntimeError):
    """Candidates can no longer be scored, through no fault of theirs; the message says what to do.

    Attributes:
        exit_code: of a command that ends by it.
    """

    exit_code: int = 1


class Scorer(Protocol):
    """Scores candidates, in any order, at most once each unless a worker is lost under them."""

    @property
    def num_running(self) -> int:
        """Number of candidates being scored now."""

    def submit(self, job: Job) -> None:
        """Queue a candidate; returns at once."""

    def wait(self, timeout_s: float) -> Sequence[ScorerEvent]:
        """What happened since the last call, in order; waits for the first event up to ``timeout_s``.

        Every candidate comes to one `Outcome`. Before that, attempts at it may be reported as they begin and
        as they are lost; starting it again is the scorer's business. A candidate whose `BegunAttempt` is
        returned is not handed to its worker before the next call: by then the caller has it on record.

        Raises:
            EngineError: candidates can no longer be scored.
        """

    def close(self) -> None:
        """Stop, whatever is still running; further calls do nothing."""


def run_job(score: Score, job: Job, worker: str, node: str = "") -> Outcome:
    """Score one candidate. Whatever it raises is its own failure and becomes the outcome's reason."""
    started = time.perf_counter()
    try:
        metrics: Mapping[str, Any] | None = score(job.spec, job.seed)
        reason = ""
    except Exception as error:
        metrics = None
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
    return Outcome(
        trial=job.trial,
        metrics=metrics,
        reason=reason,
        attempts=job.attempt,
        node=node,
        worker=worker,
        seconds=round(time.perf_counter() - started, 3),
    )


def lost_outcome(job: Job) -> Outcome:
    """The failure of a candidate whose attempts before this job were all lost."""
    attempts = job.attempt - 1
    times = "once" if attempts == 1 else f"{attempts} times"
    reason = f"its worker was lost {times}, the last: {job.last_reason}"
    return Outcome(trial=job.trial, metrics=None, reason=reason, attempts=attempts, is_lost=True)


class SerialScorer:
    """Scores candidates one after the other in this process: for tests and debugging.

    Args:
        open_score: opens the proxy task; called at the first candidate.
        max_attempts: how often a candidate is started before it counts as failed: each start but the last
            took the process down. None for any number.
    """

    def __init__(self, open_score: OpenScore, *, max_attempts: int | None = None) -> None:
        self._open_score = open_score
        self._max_attempts = max_attempts
        self._score: Score | None = None
        self._queue: deque[Job] = deque()
        self._begun: Job | None = None
        self._worker = f"{socket.gethostname()}:{os.getpid()}"

    @property
    def num_running(self) -> int:
        """1 while candidates are queued: `wait` scores the first of them."""
        return min(1, len(self._queue))

    def submit(self, job: Job) -> None:
        """Queue a candidate."""
        self._queue.append(job)

    def wait(self, timeout_s: float) -> list[ScorerEvent]:
        """Report that the next candidate begins; at the call after that score it, however long it takes."""
        if not self._queue:
            return []
        job = self._queue[0]
        if self._max_attempts is not None and job.attempt > self._max_attempts:
            self._queue.popleft()
            return [lost_outcome(job)]
        if self._begun is not job:
            self._begun = job
            return [BegunAttempt(trial=job.trial, attempt=job.attempt, node="", worker=self._worker)]
        if self._score is None:
            self._score = self._open_score()
        outcome = run_job(self._score, job, self._worker)
        self._queue.popleft()
        return [outcome]

    def close(self) -> None:
        """Drop what is queued."""
        self._queue.clear()
