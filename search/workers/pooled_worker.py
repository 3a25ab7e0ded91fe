"""A worker as the driver sees it: `PooledWorker`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spinesearch.search.workers.worker import Greeting
from spinesearch.search.workers.worker_states import Verdict, WorkerEvent, WorkerState, next_state


@dataclass(kw_only=True, slots=True, eq=False)
class PooledWorker:
    """A worker as the driver sees it.

    Attributes:
        actor: Ray's handle.
        started: when, by the pool's clock.
        state: where it stands.
        call: reference of the answer that the pool waits for; None if it waits for none.
        asked: when that call was made.
        greeting: who it is; None while it is pending.
        num_scored: candidates it has scored.
    """

    actor: Any
    started: float
    state: WorkerState = WorkerState.PENDING
    call: Any = None
    asked: float = 0.0
    greeting: Greeting | None = None
    num_scored: int = 0

    def change(self, event: WorkerEvent) -> Verdict | None:
        """Take the state that follows an event; returns what an end means."""
        self.state, verdict = next_state(self.state, event)
        return verdict

    def __str__(self) -> str:
        """The worker for people."""
        return f"a worker on node {self.greeting.node_name}" if self.greeting else "a worker"
