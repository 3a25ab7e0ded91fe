"""Who scores candidates, what of, and what comes of it: `Scorer`, `Job`, `Outcome`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from spinesearch.proxy_task.request import WHOLE, TrainingRequest
from spinesearch.results.ledger.files import KeptFile
from spinesearch.results.ledger.trial import Trial
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


@runtime_checkable
class WearingScore(Protocol):
    """A `Score` that may leave its process unfit for further candidates."""

    @property
    def is_worn(self) -> bool:
        """Whether it has."""

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
        request: how far it is trained, and which files are wanted of it.
        state: where the driver finds the state that it goes on from, if there is one; see `handed_out`.
        rung: how many parts of its training are behind it; those with more go first, see `enqueue`.
        attempt: how often it has been started, this time included.
        last_reason: why the attempt before this one was lost.
        lost_on: nodes on which attempts were lost.
    """

    trial: int
    spec: ArchSpec | ResNetSpec
    seed: int
    request: TrainingRequest = WHOLE
    state: KeptFile | None = None
    rung: int = 0
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
    """The next job of a trial without a result; the attempts at it that are on record count."""
    lost = trial.lost[trial.rungs[-1].num_lost :] if trial.rungs else trial.lost
    return Job(
        trial=trial.trial,
        spec=spec,
        seed=seed,
        request=request,
        state=state,
        rung=len(trial.rungs),
        attempt=len(lost) + 1,
        last_reason=lost[-1].reason if lost else "",
        lost_on=frozenset(attempt.node for attempt in lost),
    )


def enqueue(queue: deque[Job], job: Job) -> None:
    """Put a job behind those that are as far as it, and before those that are not.

    Candidates that have got far end a generation, on which what is proposed next depends.
    """
    place = len(queue)
    while place and queue[place - 1].rung < job.rung:
        place -= 1
    queue.insert(place, job)


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
