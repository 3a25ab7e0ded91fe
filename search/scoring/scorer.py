"""Who scores candidates: the `Scorer` protocol, and `SerialScorer`, which does it in this process."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from spinesearch.proxy_task.request import WHOLE, TrainingRequest
from spinesearch.results.ledger.trial import Trial
from spinesearch.search.scoring.trial_files import KeptFile
from spinesearch.space import ArchSpec, ResNetSpec

Score = Callable[[ArchSpec | ResNetSpec, int], Mapping[str, Any]]
"""Metrics by name of an architecture trained with a seed; raises if the candidate fails."""

Files = Mapping[str, bytes]
"""What a training leaves besides its metrics: contents by name."""


@runtime_checkable
class SteppedScore(Protocol):
    """A `Score` whose training takes steps, and says so.

    Attributes:
        on_step: called after every step with its number, from 0; from its first again if it starts over.
    """

    on_step: Callable[[int], None]

    def __call__(self, spec: ArchSpec | ResNetSpec, seed: int) -> Mapping[str, Any]:
        """As a `Score`."""


@runtime_checkable
class FlexibleScore(Protocol):
    """A `Score` that trains as far as it is asked, and gives the files it is asked for."""

    def __call__(self, spec: ArchSpec | ResNetSpec, seed: int) -> Mapping[str, Any]:
        """As a `Score`."""

    def train(
        self, spec: ArchSpec | ResNetSpec, seed: int, request: TrainingRequest
    ) -> tuple[Mapping[str, Any], Files]:
        """Metrics and files."""


OpenScore = Callable[[], Score]
"""Opens the proxy task, data set and all, and gives its `Score`. Called once per worker."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A candidate to be scored.

    Attributes:
        trial: its number.
        spec: its architecture.
        seed: of its training.
        request: how far it is trained, and which files are wanted of it.
        state: where the driver finds the state that it goes on from, if there is one; see `handed_out`.
        attempt: how often it has been started, this time included.
        last_reason: why the attempt before this one was lost.
        lost_on: nodes on which attempts were lost.
    """

    trial: int
    spec: ArchSpec | ResNetSpec
    seed: int
    request: TrainingRequest = WHOLE
    state: KeptFile | None = None
    attempt: int = 1
    last_reason: str = ""
    lost_on: frozenset[str] = frozenset()

    def again(self, reason: str, node: str = "") -> Job:
        """The next attempt at the same candidate, whose worker was lost on this node."""
        return replace(
            self, attempt=self.attempt + 1, last_reason=reason, lost_on=self.lost_on | {node} - {""}
        )

    def handed_out(self) -> Job:
        """The job as a worker gets it, with the state in the request.

        It is read this late since states of many candidates would fill the driver's memory. One that is gone
        or damaged is left out: the candidate is trained from the beginning.
        """
        if self.state is None:
            return self
        return replace(self, request=replace(self.request, state=self.state.read()), state=None)


def job_of(
    trial: Trial,
    spec: ArchSpec | ResNetSpec,
    seed: int,
    *,
    request: TrainingRequest = WHOLE,
    state: KeptFile | None = None,
) -> Job:
    """The job of a trial without a result; the attempts on record count."""
    return Job(
        trial=trial.trial,
        spec=spec,
        seed=seed,
        request=request,
        state=state,
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
        files: those that were asked for, by name.
    """

    trial: int
    metrics: Mapping[str, Any] | None
    reason: str = ""
    attempts: int = 1
    node: str = ""
    worker: str = ""
    seconds: float = 0.0
    is_lost: bool = False
    files: Files = field(default_factory=dict, repr=False)


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
    metrics: Mapping[str, Any] | None
    files: Files = {}
    reason = ""
    try:
        if job.request == WHOLE:
            metrics = score(job.spec, job.seed)
        elif isinstance(score, FlexibleScore):
            metrics, files = score.train(job.spec, job.seed, job.request)
        else:
            raise TypeError(f"{score!r} only trains whole candidates, and keeps no files")
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
        files=files,
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
        outcome = run_job(self._score, job.handed_out(), self._worker)
        self._queue.popleft()
        return [outcome]

    def close(self) -> None:
        """Drop what is queued."""
        self._queue.clear()
