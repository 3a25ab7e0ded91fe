"""Candidates scored by long-lived Ray actors, one proxy task each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from spinesearch.search.scoring.scorer import (
    BegunAttempt,
    Job,
    LostAttempt,
    OpenScore,
    Outcome,
    ScorerEvent,
    enqueue,
    lost_outcome,
)
from spinesearch.search.workers.pace import forget_paces, read_pace
from spinesearch.search.workers.pooled_worker import PooledWorker
from spinesearch.search.workers.ray_errors import why_lost
from spinesearch.search.workers.trial_resources import TrialResources
from spinesearch.search.workers.trial_timeout import PatientClock, TrialTimeout
from spinesearch.search.workers.worker import Answer
from spinesearch.search.workers.worker_pool import WorkerPool
from spinesearch.search.workers.worker_states import PoolTimes, WorkerEvent


class RayScorer:
    """Scores candidates on Ray workers; a candidate whose worker is lost is run again by another.

    The process must be connected to Ray, see `ray_cluster.connected`.

    Args:
        open_score: opens the proxy task in each worker; picklable.
        num_workers: candidates at a time; None for as many as the cluster has room for, now and as nodes come
            and go. Those of a number that find no place wait for one. There are never more workers than
            candidates in hand.
        resources: what each worker needs.
        max_attempts: how often a candidate is started before it counts as failed.
        warn: receives one line for every worker that is lost or refused, and on why none starts.
        trials_per_worker: candidates after which a worker is replaced; None for never.
        worker_memory_gb: memory of its own, 1e9 bytes, beyond which it is; None for any.
        timeout: when a candidate is taken to hang.
        times: how long to wait for workers.
        clock: seconds.
        may_grow: whether nodes may join the cluster.
    """

    def __init__(
        self,
        open_score: OpenScore,
        *,
        num_workers: int | None,
        resources: TrialResources,
        max_attempts: int,
        warn: Callable[[str], None],
        trials_per_worker: int | None = None,
        worker_memory_gb: float | None = None,
        timeout: TrialTimeout | None = None,
        times: PoolTimes | None = None,
        clock: Callable[[], float] | None = None,
        may_grow: bool = False,
    ) -> None:
        self._clock = clock or PatientClock()
        self._pool = WorkerPool(
            open_score,
            resources=resources,
            num_workers=num_workers,
            warn=warn,
            clock=self._clock,
            times=times or PoolTimes(),
            may_grow=may_grow,
        )
        self._max_attempts = max_attempts
        self._warn = warn
        self._trials_per_worker = trials_per_worker
        self._worker_memory_gb = worker_memory_gb
        self._timeout = timeout or TrialTimeout(None)
        self._queue: deque[Job] = deque()
        self._failed: list[Outcome] = []  # candidates all of whose attempts were lost before
        self._begun: list[tuple[PooledWorker, Job]] = []  # reported, and handed out by the next `wait`
        # By the reference of the answer, longest running first.
        self._running: dict[Any, _Running] = {}

    @property
    def num_running(self) -> int:
        """Number of candidates on workers now."""
        return len(self._running) + len(self._begun)

    def submit(self, job: Job) -> None:
        """Queue a candidate, and start it if a worker is idle."""
        if job.attempt > self._max_attempts:  # the last was lost with the process that carried out the run
            self._failed.append(lost_outcome(job))
            return
        enqueue(self._queue, job)
        self._wake()

    def wait(self, timeout_s: float) -> list[ScorerEvent]:
        """What happened, after at most ``timeout_s``; what was reported to begin before begins now."""
        self._hand_out_begun()
        self._pool.tend(len(self._queue) + len(self._running))
        self._wake()
        ended: list[ScorerEvent] = [*self._failed]
        self._failed.clear()
        references = [*self._pool.references, *self._running]
        if not references and not ended:  # everybody is idle
            time.sleep(timeout_s)
        done: list[Any] = []
        if references and not ended:
            done, _ = ray.wait(references, num_returns=1, timeout=timeout_s)
        if done:  # and whatever else is ready by now
            done, _ = ray.wait(references, num_returns=len(references), timeout=0)
        for reference in done:
            if reference in self._running:
                ended += self._take_answer(reference)
            elif (worker := self._pool.take(reference)) is not None:
                self._give(worker)
        ended += self._end_hung()
        self._wake()
        return ended + [_begun_attempt(worker, job) for worker, job in self._begun]

    def close(self) -> None:
        """Kill the workers, whatever they are doing."""
        self._queue.clear()
        self._begun.clear()
        self._running.clear()
        self._pool.close()
        forget_paces()

    def _wake(self) -> None:
        """Have as many idle workers answer as there are candidates that they may be given."""
        if self._queue:
            self._pool.wake(len(self._queue), lambda worker: self._next_for(worker) is not None)

    def _next_for(self, worker: PooledWorker) -> int | None:
        """The place in the queue of the candidate that this worker is to be given; None for none.

        A candidate goes back to a node where it was lost only if there are workers nowhere else.
        """
        assert worker.greeting is not None
        for place, job in enumerate(self._queue):
            if worker.greeting.node not in job.lost_on or self._pool.nodes <= job.lost_on:
                return place
        return None

    def _give(self, worker: PooledWorker) -> None:
        """Choose the next candidate for a worker that has just answered."""
        place = self._next_for(worker)
        if place is None:
            self._pool.happened(worker, WorkerEvent.RELEASED)
            return
        job = self._queue[place]
        del self._queue[place]
        self._pool.happened(worker, WorkerEvent.GIVEN)
        self._begun.append((worker, job))

    def _hand_out_begun(self) -> None:
        """Hand the candidates out that the last `wait` reported to begin: they are on record by now."""
        now = self._clock()
        for worker, job in self._begun:
            self._running[worker.actor.score.remote(job.handed_out())] = _Running(
                worker=worker, job=job, began=now
            )
        self._begun.clear()

    def _take_answer(self, reference: Any) -> list[ScorerEvent]:
        """A candidate finished, or its worker was lost under it."""
        running = self._running.pop(reference)
        worker = running.worker
        try:
            answer: Answer = ray.get(reference)
        except RayError as error:
            return self._lost(running, WorkerEvent.DIED, why_lost(error))
        if answer.outcome is None:
            return self._lost(running, WorkerEvent.DIED, answer.reason)
        if answer.outcome.metrics is not None and running.job.state is None:
            self._timeout.completed(answer.outcome.seconds, answer.outcome.metrics)
        worker.num_scored += 1
        self._pool.scored(worker)
        if self._is_worn(worker, answer):
            self._pool.happened(worker, WorkerEvent.WORN)  # the next `wait` starts another in its place
        else:
            self._give(worker)
        return [answer.outcome]

    def _is_worn(self, worker: PooledWorker, answer: Answer) -> bool:
        """Whether a worker has done its share, grown too large, or says that it is worn."""
        if answer.is_worn:
            return True
        if self._trials_per_worker is not None and worker.num_scored >= self._trials_per_worker:
            return True
        return self._worker_memory_gb is not None and answer.memory_bytes > 1e9 * self._worker_memory_gb

    def _end_hung(self) -> list[ScorerEvent]:
        """End the workers of candidates that take too long: they, or their machine, may be frozen."""
        now = self._clock()
        usual_s: dict[int | None, float] = {}  # by the length of the training
        ended: list[ScorerEvent] = []
        for reference, running in list(self._running.items()):
            num_steps = running.job.request.num_steps
            if num_steps not in usual_s:
                usual_s[num_steps] = self._timeout.limit_s(num_steps=num_steps)
            if now - running.began <= usual_s[num_steps]:
                continue
            if not self._timeout.is_fixed and running.step_s is None:  # it may be on a slow machine
                running.step_s = read_pace(running.worker.actor, running.job.trial)
            limit_s = self._timeout.limit_s(running.step_s, num_steps=num_steps)
            if now - running.began > limit_s:
                del self._running[reference]
                ended += self._lost(running, WorkerEvent.SILENT, f"timed out after {limit_s:.0f} s")
        return ended

    def _lost(self, running: _Running, event: WorkerEvent, reason: str) -> list[ScorerEvent]:
        """The worker's end, not the candidate's failure; the candidate is run again if it may be."""
        worker, job, began = running.worker, running.job, running.began
        assert worker.greeting is not None
        node = worker.greeting.node
        self._pool.happened(worker, event, reason, began=began, is_second=node in job.lost_on)
        lost = LostAttempt(
            trial=job.trial,
            attempt=job.attempt,
            reason=reason,
            node=node,
            worker=worker.greeting.worker,
            seconds=round(self._clock() - began, 3),
        )
        again = job.again(reason, node)
        if again.attempt > self._max_attempts:
            return [lost, lost_outcome(again)]
        self._warn(
            f"trial {job.trial}: its worker was lost ({reason}); "
            f"attempt {again.attempt} of {self._max_attempts}"
        )
        self._queue.appendleft(again)
        return [lost]


@dataclass(kw_only=True, slots=True)
class _Running:
    """A candidate that a worker has.

    Attributes:
        worker: the worker.
        job: the candidate.
        began: when, by the scorer's clock.
        step_s: seconds that its training takes per step, once that was asked and is known.
    """

    worker: PooledWorker
    job: Job
    began: float
    step_s: float | None = None


def _begun_attempt(worker: PooledWorker, job: Job) -> BegunAttempt:
    assert worker.greeting is not None
    return BegunAttempt(
        trial=job.trial, attempt=job.attempt, node=worker.greeting.node, worker=worker.greeting.worker
    )
