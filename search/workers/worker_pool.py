"""The workers of a search on a cluster: started, greeted, opened, replaced, as many as there is room for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import RayError, RayTaskError

from spinesearch.search.environment import code_difference, code_version
from spinesearch.search.scoring.scorer import EngineError, OpenScore
from spinesearch.search.workers.node_watch import NodeWatch
from spinesearch.search.workers.pooled_worker import PooledWorker
from spinesearch.search.workers.ray_errors import import_failure, why_lost
from spinesearch.search.workers.trial_resources import TrialResources, cluster_nodes
from spinesearch.search.workers.worker import Greeting, Worker
from spinesearch.search.workers.worker_states import (
    MAX_FAILED_STARTS,
    FailedStarts,
    PoolTimes,
    Verdict,
    WorkerEvent,
    WorkerState,
)


class WorkerPool:
    """Workers that come and go.

    What becomes of a worker is decided by `worker_states`; the pool learns what happens to each, and carries
    out what follows: it asks, ends and starts workers, and has nodes left alone.

    Args:
        open_score: opens the proxy task in each worker; picklable.
        resources: what each needs.
        num_workers: how many; None for as many as the cluster's nodes have room for at the time.
        warn: receives one line for every worker that is refused or dies, and on what is missing.
        clock: seconds.
        times: how long to wait for what.
        may_grow: whether nodes may join, so that having refused all that are there is not the end.
    """

    def __init__(
        self,
        open_score: OpenScore,
        *,
        resources: TrialResources,
        num_workers: int | None,
        warn: Callable[[str], None],
        clock: Callable[[], float],
        times: PoolTimes,
        may_grow: bool,
    ) -> None:
        self._open_score = ray.put(cloudpickle.dumps(open_score))  # type: ignore[no-untyped-call]
        self._code = code_version()
        self._actor_class: Any = ray.remote(Worker)
        self._resources = resources
        self._num_workers = num_workers
        self._warn = warn
        self._clock = clock
        self._times = times
        # All that live, by state, those that came into it first at the front.
        self._in: dict[WorkerState, dict[PooledWorker, None]] = {state: {} for state in WorkerState}
        self._calls: dict[Any, PooledWorker] = {}  # by the reference of the answer
        self._nodes = NodeWatch(resources, times, warn, may_grow=may_grow)
        self._limit = 0
        self._next_look = -1.0
        self._failed_starts = FailedStarts(times.backoff_s)
        self._waiting_since = clock()
        self._fatal: EngineError | None = None

    @property
    def references(self) -> list[Any]:
        """What to wait for besides candidates."""
        return list(self._calls)

    @property
    def workers(self) -> list[PooledWorker]:
        """All that live, pending ones too."""
        return [worker for workers in self._in.values() for worker in workers]

    @property
    def nodes(self) -> frozenset[str]:
        """Where workers with open data are, by the nodes' names in the ledger."""
        open_states = (WorkerState.READY, WorkerState.IDLE, WorkerState.ASKED, WorkerState.BUSY)
        return frozenset(w.greeting.node for state in open_states for w in self._in[state] if w.greeting)

    def tend(self, num_candidates: int) -> None:
        """Start and end workers as the cluster and the number of candidates in hand demand.

        Raises:
            EngineError: no worker can be obtained.
        """
        if self._fatal is not None:
            raise self._fatal
        now = self._clock()
        self._end_silent(now)
        if now >= self._next_look:
            self._next_look = now + self._times.look_s
            self._look(now)
        num_living = sum(map(len, self._in.values()))
        if not num_living and not self._limit:
            raise EngineError(self._nodes.last_reason or "Ray does not say which nodes there are")
        while num_living < min(self._limit, num_candidates) and self._failed_starts.may_start(now):
            self._start(now)
            num_living += 1
        self._warn_if_stuck(now)

    def wake(self, num_candidates: int, is_wanted: Callable[[PooledWorker], bool]) -> None:
        """Ask as many idle workers that are wanted as there are candidates whether they live.

        One may have died unnoticed.
        """
        since = self._clock() - self._times.prompt_s
        num_asked = sum(worker.asked > since for worker in self._in[WorkerState.ASKED])
        for worker in list(self._in[WorkerState.IDLE]):
            if num_asked >= num_candidates:
                break
            if is_wanted(worker):
                self.happened(worker, WorkerEvent.ASKED)
                self._call(worker, worker.actor.ping.remote())
                num_asked += 1

    def take(self, reference: Any) -> PooledWorker | None:
        """The worker that one of `references` has made ready, if it has."""
        worker = self._calls.get(reference)
        if worker is None:  # it was ended since
            return None
        self._end_call(worker)
        try:
            answer = ray.get(reference)
        except RayError as error:
            self._failed(worker, error)
            return None
        if worker.state is WorkerState.PENDING:
            self._greeted(worker, answer)
            return None
        if worker.state is WorkerState.OPENING:
            self._failed_starts.none_since()
            self.happened(worker, WorkerEvent.OPENED)
        else:
            self.happened(worker, WorkerEvent.ANSWERED)
        return worker

    def happened(
        self,
        worker: PooledWorker,
        event: WorkerEvent,
        reason: str = "",
        *,
        began: float | None = None,
        is_second: bool = False,
    ) -> None:
        """Bring a worker into the state that follows an event; if it ends with that, do what that means.

        The scorer reports what becomes of ready and busy workers by this, the pool all else.

        Args:
            worker: the worker.
            event: what happened to it.
            reason: why, in words that follow the worker's name or stand in brackets.
            began: when it began what it is lost in; None for its start.
            is_second: whether the same candidate was lost on its node before.
        """
        del self._in[worker.state][worker]
        verdict = worker.change(event)
        if worker.state is not WorkerState.ENDED:
            self._in[worker.state][worker] = None
            return
        self._end_call(worker)
        ray.kill(worker.actor)  # whatever it does; its memory, a GPU's too, is free when its process has gone
        match verdict:
            case Verdict.REFUSED:
                if worker.greeting is not None:
                    self._nodes.refused(worker.greeting.node_id, f"{worker} {reason}", self._clock())
                self._next_look = -1.0
            case Verdict.FAILED_START:
                self._charge(worker, worker.started, reason, is_second=False)
                self._failed_start(worker, reason)
            case Verdict.LOST:
                self._charge(worker, worker.started if began is None else began, reason, is_second=is_second)

    def scored(self, worker: PooledWorker) -> None:
        """A worker has come to the end of its candidate, and is ready for another."""
        self.happened(worker, WorkerEvent.ANSWERED)
        assert worker.greeting is not None
        self._nodes.scored(worker.greeting)

    def close(self) -> None:
        """Kill all."""
        for worker in self.workers if ray.is_initialized() else ():
            self.happened(worker, WorkerEvent.CLOSED)
        self._calls.clear()
        for workers in self._in.values():
            workers.clear()

    def _charge(self, worker: PooledWorker, began: float, reason: str, *, is_second: bool) -> None:
        """Count a worker as a loss of its node; if that is left alone for it, so are its idle workers."""
        if worker.greeting is None:
            return
        node_id = worker.greeting.node_id
        if self._nodes.lost(worker.greeting, began, self._clock(), reason, is_second=is_second):
            idle = self._in[WorkerState.IDLE]
            for other in [w for w in idle if w.greeting and w.greeting.node_id == node_id]:
                self.happened(other, WorkerEvent.SURPLUS)
            self._next_look = -1.0

    def _failed_start(self, worker: PooledWorker, reason: str) -> None:
        """A worker died before it was ready."""
        count = self._failed_starts.add(worker.started, self._clock())
        self._warn(f"{worker} died while starting ({reason}); another is started")
        if count >= MAX_FAILED_STARTS and not self._any_greeted():
            self._fatal = EngineError(f"no worker became ready, {count} times in a row; the last: {reason}")

    def _failed(self, worker: PooledWorker, error: RayError) -> None:
        """A worker answered with an error, or not at all since it died."""
        cause = error.cause if isinstance(error, RayTaskError) else None
        reason = why_lost(cause if isinstance(cause, Exception) else error)
        lacking = import_failure(error) if worker.state is WorkerState.PENDING else None
        if worker.state is WorkerState.OPENING and isinstance(error, RayTaskError):
            self.happened(worker, WorkerEvent.REFUSED, f"could not open the proxy task: {reason}")
        elif lacking and self._nodes.refused_at(*lacking, self._clock()):  # it could not report its node
            self.happened(worker, WorkerEvent.REFUSED)
        else:
            self.happened(worker, WorkerEvent.DIED, lacking[1] if lacking else reason)

    def _greeted(self, worker: PooledWorker, greeting: Greeting) -> None:
        """A worker runs: see whether it is wanted."""
        worker.greeting = greeting
        if greeting.node_id in self._nodes.left_alone:  # it was on its way; the next one goes elsewhere
            self.happened(worker, WorkerEvent.UNWANTED)
            return
        if difference := code_difference(self._code, greeting.code):
            self.happened(worker, WorkerEvent.REFUSED, f"is refused: {difference}")
            return
        if greeting.code.torch != self._code.torch:
            self._nodes.warn_of_torch(greeting, self._code.torch)
        self.happened(worker, WorkerEvent.WELCOMED)
        self._call(worker, worker.actor.open.remote(self._open_score))

    def _start(self, now: float) -> None:
        options = self._resources.actor_options(self._nodes.left_alone)
        worker = PooledWorker(actor=self._actor_class.options(**options).remote(), started=now)
        self._in[worker.state][worker] = None
        self._call(worker, worker.actor.greet.remote())

    def _call(self, worker: PooledWorker, reference: Any) -> None:
        worker.asked, worker.call = self._clock(), reference
        self._calls[reference] = worker

    def _end_call(self, worker: PooledWorker) -> None:
        self._calls.pop(worker.call, None)
        worker.call = None

    def _look(self, now: float) -> None:
        """Find out how many workers there may be now, and end pending and idle ones beyond that."""
        pending = self._in[WorkerState.PENDING]
        if self._nodes.try_again(now):  # those without a place are restarted, for these nodes too
            for worker in list(pending):
                self.happened(worker, WorkerEvent.SURPLUS)
        try:
            nodes = cluster_nodes()
        except RayError:  # the head is busy or gone; the next look will show
            return
        workers, left_alone = self.workers, self._nodes.left_alone
        kept = [worker for worker in workers if worker.greeting and worker.greeting.node_id in left_alone]
        num_places = self._nodes.room(nodes)
        self._limit = max(1, num_places) + len(kept) if self._num_workers is None else self._num_workers
        if self._nodes.is_hopeless(nodes, now):
            self._limit = len(workers) - len(pending)
        surplus = [*self._in[WorkerState.IDLE], *pending][::-1]
        for worker in surplus[: max(0, len(workers) - self._limit)]:
            self.happened(worker, WorkerEvent.SURPLUS)

    def _end_silent(self, now: float) -> None:
        """End those that no longer answer."""
        for worker in list(self._calls.values()):
            state, silent_s = worker.state, now - worker.asked
            if self._times.is_silent(state, silent_s):
                self.happened(worker, WorkerEvent.SILENT, f"its data were not open after {silent_s:.0f} s")
                if state is WorkerState.ASKED:
                    self._warn(f"{worker} does not answer; another is started")
            elif state is WorkerState.OPENING and silent_s > self._times.slow_open_s and worker.greeting:
                self._nodes.warn_of_opening(worker.greeting)

    def _any_greeted(self) -> bool:
        return any(workers for state, workers in self._in.items() if state is not WorkerState.PENDING)

    def _warn_if_stuck(self, now: float) -> None:
        """Say what is missing when no worker has found a place for a while, and again from time to time."""
        if self._any_greeted():
            self._waiting_since = now
        elif now - self._waiting_since > self._times.patience_s:
            self._nodes.warn_of_missing()
            self._waiting_since = now + self._times.repeat_s
