"""The workers of a search on a cluster: started, greeted, opened, replaced, as many as there is room for."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

import ray
from ray import cloudpickle
from ray.exceptions import RayError, RayTaskError

from spinesearch.search.environment import code_version
from spinesearch.search.scoring.scorer import EngineError, OpenScore
from spinesearch.search.workers.node_watch import NodeWatch
from spinesearch.search.workers.pooled_worker import PooledWorker, PoolTimes
from spinesearch.search.workers.ray_errors import import_failure, why_lost
from spinesearch.search.workers.refusals import differences
from spinesearch.search.workers.trial_resources import TrialResources, cluster_nodes, cluster_resources
from spinesearch.search.workers.worker import Greeting, Worker

_MAX_FAILED_STARTS = 5  # rounds of workers that died before they were ready, while none was
_LONGEST_BACKOFF_S = 60.0


class WorkerPool:
    """Workers that come and go.

    A worker is *pending* until Ray has found a place for it; then it greets and opens its data; then it is
    *ready*: busy with a candidate, or idle. One whose code differs or that cannot open its data is refused,
    and its node left alone for a while. So is a node that loses worker after worker while there are others.

    Args:
        open_score: opens the proxy task in each worker; picklable.
        resources: what each needs.
        num_workers: how many; None for as many as the cluster's nodes have room for at the time.
        warn: told in one line of every worker that is refused or dies, and of what is missing.
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
        self._calls: dict[Any, tuple[Literal["greet", "open", "ping"], PooledWorker]] = {}
        self._idle: deque[PooledWorker] = deque()  # may have died since
        self._busy: set[PooledWorker] = set()
        self._nodes = NodeWatch(resources, times, warn, may_grow=may_grow)
        self._limit = 0
        self._next_look = -1.0
        self._failed_starts = 0
        self._last_failed_start = -1.0
        self._no_start_before = -1.0
        self._waiting_since = clock()
        self._other_torch: set[str] = set()
        self._fatal: EngineError | None = None

    @property
    def references(self) -> list[Any]:
        """What to wait for besides candidates."""
        return list(self._calls)

    @property
    def workers(self) -> list[PooledWorker]:
        """All, pending ones too."""
        return [*(worker for _, worker in self._calls.values()), *self._idle, *self._busy]

    @property
    def nodes(self) -> frozenset[str]:
        """Where ready workers are, by the nodes' names in the ledger."""
        asked = (worker for kind, worker in self._calls.values() if kind == "ping")
        return frozenset(w.greeting.node for w in (*asked, *self._idle, *self._busy) if w.greeting)

    def tend(self, num_candidates: int) -> None:
        """Start, stop and give up workers as the cluster and the number of candidates in hand demand.

        Raises:
            EngineError: no worker can be had any more.
        """
        if self._fatal is not None:
            raise self._fatal
        now = self._clock()
        self._give_up_silent(now)
        if now >= self._next_look:
            self._next_look = now + self._times.look_s
            self._look(now)
        num_living = len(self._calls) + len(self._idle) + len(self._busy)
        if not num_living and not self._limit:
            raise EngineError(self._nodes.last_reason or "Ray does not tell which nodes there are")
        while num_living < min(self._limit, num_candidates) and now >= self._no_start_before:
            self._start(now)
            num_living += 1
        self._tell_if_stuck(now)

    def wake(self, num_candidates: int, is_wanted: Callable[[PooledWorker], bool]) -> None:
        """Ask as many idle workers that are wanted as there are candidates whether they live.

        One may have died unnoticed.
        """
        since = self._clock() - self._times.prompt_s
        num_asked = sum(kind == "ping" and worker.asked > since for kind, worker in self._calls.values())
        for worker in list(self._idle):
            if num_asked >= num_candidates:
                break
            if is_wanted(worker):
                self._idle.remove(worker)
                self._call("ping", worker, worker.actor.ping.remote())
                num_asked += 1

    def take(self, reference: Any) -> PooledWorker | None:
        """The worker that one of `references` has made ready, if it has."""
        kind, worker = self._calls.pop(reference, (None, None))
        if worker is None:  # given up since
            return None
        try:
            answer = ray.get(reference)
        except RayError as error:
            cause = error.cause if isinstance(error, RayTaskError) else None
            reason = why_lost(cause if isinstance(cause, Exception) else error)
            if kind == "open" and isinstance(error, RayTaskError):
                self._refuse(worker, f"could not open the proxy task: {reason}")
                return None
            if lacking := import_failure(error):
                self._refuse_code(worker, *lacking)
                return None
            self.end(worker)
            if kind != "ping":  # an idle one is replaced without a word: no candidate was its own
                self._failed_start(worker, reason)
            return None
        if kind == "greet":
            self._greeted(worker, answer)
            return None
        if kind == "open":
            self._failed_starts = 0
        return worker

    def use(self, worker: PooledWorker) -> None:
        """A ready worker is given a candidate."""
        self._busy.add(worker)

    def release(self, worker: PooledWorker) -> None:
        """A ready worker has no candidate."""
        self._busy.discard(worker)
        self._idle.append(worker)

    def end(self, worker: PooledWorker) -> None:
        """Kill a worker, whatever it does; its memory, a GPU's too, is free when its process has gone."""
        self._calls = {ref: call for ref, call in self._calls.items() if call[1] is not worker}
        if worker in self._idle:
            self._idle.remove(worker)
        self._busy.discard(worker)
        ray.kill(worker.actor)

    def scored(self, worker: PooledWorker) -> None:
        """A worker has come to the end of a candidate."""
        assert worker.greeting is not None
        self._nodes.scored(worker.greeting)

    def lost(self, worker: PooledWorker, began: float, reason: str, *, is_second: bool = False) -> None:
        """End a worker that was lost; the arguments are those of `NodeWatch.lost`."""
        self.end(worker)
        assert worker.greeting is not None
        greeting = worker.greeting
        if self._nodes.lost(greeting, began, self._clock(), reason, is_second=is_second):
            for idle in [w for w in self._idle if w.greeting and w.greeting.node_id == greeting.node_id]:
                self.end(idle)
            self._next_look = -1.0

    def close(self) -> None:
        """Kill all."""
        workers = self.workers
        self._calls.clear()
        self._idle.clear()
        self._busy.clear()
        if ray.is_initialized():
            for worker in workers:
                ray.kill(worker.actor)

    def _start(self, now: float) -> None:
        options = self._resources.actor_options(self._nodes.refused)
        worker = PooledWorker(actor=self._actor_class.options(**options).remote(), started=now, asked=now)
        self._call("greet", worker, worker.actor.greet.remote())

    def _call(self, kind: Literal["greet", "open", "ping"], worker: PooledWorker, reference: Any) -> None:
        worker.asked = self._clock()
        self._calls[reference] = (kind, worker)

    def _look(self, now: float) -> None:
        """Find out how many workers there may be now, and give up pending and idle ones beyond that."""
        if self._nodes.forget_expired(now):  # those without a place are started anew, for these nodes too
            for worker in self._pending():
                self.end(worker)
        try:
            nodes = cluster_nodes()
        except RayError:  # the head is busy or gone; the next look tells
            return
        refused = self._nodes.refused
        pending = self._pending()
        kept = [worker for worker in self.workers if worker.greeting and worker.greeting.node_id in refused]
        num_places = self._nodes.room(nodes)
        self._limit = max(1, num_places) + len(kept) if self._num_workers is None else self._num_workers
        if self._nodes.is_hopeless(nodes, now):
            self._limit = len(self.workers) - len(pending)
        surplus = [*self._idle, *pending][::-1]
        for worker in surplus[: max(0, len(self.workers) - self._limit)]:
            self.end(worker)

    def _pending(self) -> list[PooledWorker]:
        return [worker for kind, worker in self._calls.values() if kind == "greet"]

    def _give_up_silent(self, now: float) -> None:
        """End those that answer nothing any more."""
        for kind, worker in list(self._calls.values()):
            silent_s = now - worker.asked
            if kind == "open" and silent_s > self._times.open_s:
                self.end(worker)
                self._failed_start(worker, f"its data were not open after {silent_s:.0f} s")
            elif kind == "open" and silent_s > self._times.slow_open_s and worker.greeting is not None:
                self._nodes.tell_of_opening(worker.greeting)
            elif kind == "ping" and silent_s > self._times.ping_s:
                self.end(worker)
                self._warn(f"{worker} does not answer; another is started")

    def _greeted(self, worker: PooledWorker, greeting: Greeting) -> None:
        """A worker runs: see whether it is wanted."""
        worker.greeting = greeting
        if greeting.node_id in self._nodes.refused:  # it was on its way; the next is told to go elsewhere
            self.end(worker)
            return
        if difference := differences(self._code, greeting.code):
            self._refuse(worker, f"is refused: {difference}")
            return
        if greeting.code.torch != self._code.torch and greeting.node_id not in self._other_torch:
            self._other_torch.add(greeting.node_id)
            self._warn(
                f"{worker} has torch {greeting.code.torch}, this process {self._code.torch}: "
                "its scores may differ in the last digits"
            )
        self._call("open", worker, worker.actor.open.remote(self._open_score))

    def _refuse(self, worker: PooledWorker, reason: str) -> None:
        """End a worker that is of no use, and leave its node alone for a while."""
        assert worker.greeting is not None
        self.end(worker)
        self._nodes.refuse(worker.greeting.node_id, f"{worker} {reason}", self._clock())
        self._next_look = -1.0

    def _refuse_code(self, worker: PooledWorker, address: str, message: str) -> None:
        """The same where the worker's own code could not be imported, so that it could not tell its node."""
        self.end(worker)
        if not self._nodes.refuse_at(address, message, self._clock()):
            self._failed_start(worker, message)
        self._next_look = -1.0

    def _failed_start(self, worker: PooledWorker, reason: str) -> None:
        """A worker died before it was ready; those that die together, as with their node, count once."""
        now = self._clock()
        if worker.greeting is not None:
            self.lost(worker, worker.started, reason)
        if worker.started >= self._last_failed_start:
            self._failed_starts += 1
            pause_s = min(_LONGEST_BACKOFF_S, self._times.backoff_s * 2**self._failed_starts)
            self._no_start_before = now + pause_s
        self._last_failed_start = now
        self._warn(f"{worker} died while starting ({reason}); another is started")
        if self._failed_starts >= _MAX_FAILED_STARTS and not any(w.greeting for w in self.workers):
            self._fatal = EngineError(
                f"no worker lives to be ready, {self._failed_starts} times in a row; the last: {reason}"
            )

    def _tell_if_stuck(self, now: float) -> None:
        """Say what is missing when no worker has found a place for a while, and again from time to time."""
        if self._idle or self._busy or any(worker.greeting for worker in self.workers):
            self._waiting_since = now
        elif now - self._waiting_since > self._times.patience_s:
            with contextlib.suppress(RayError):  # the head is busy or gone
                has = cluster_resources()
                names = ("CPU", "GPU", *self._resources.custom)
                there = " and ".join(f"{has.get(name, 0):g} {name}" for name in names)
                self._warn(
                    f"no worker is ready: each needs {self._resources} on one node, the nodes have {there} "
                    "together; still waiting"
                )
            self._waiting_since = now + self._times.repeat_s
