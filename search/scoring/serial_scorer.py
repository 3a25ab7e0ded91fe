"""Candidates scored one after the other in this process: `SerialScorer`."""

from __future__ import annotations

import os
import socket
from collections import deque

from spinesearch.search.scoring.scorer import (
    BegunAttempt,
    Job,
    OpenScore,
    Score,
    ScorerEvent,
    enqueue,
    lost_outcome,
    run_job,
)


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
        """1 while there are candidates: `wait` scores the first of them."""
        return min(1, len(self._queue) + (self._begun is not None))

    def submit(self, job: Job) -> None:
        """Queue a candidate."""
        enqueue(self._queue, job)

    def wait(self, timeout_s: float) -> list[ScorerEvent]:
        """Report that the next candidate begins; at the call after that score it, however long it takes."""
        if self._begun is None:
            if not self._queue:
                return []
            job = self._queue.popleft()
            if self._max_attempts is not None and job.attempt > self._max_attempts:
                return [lost_outcome(job)]
            self._begun = job
            return [BegunAttempt(trial=job.trial, attempt=job.attempt, node="", worker=self._worker)]
        if self._score is None:
            self._score = self._open_score()
        outcome = run_job(self._score, self._begun.handed_out(), self._worker)
        self._begun = None
        return [outcome]

    def close(self) -> None:
        """Drop what is queued."""
        self._begun = None
        self._queue.clear()
