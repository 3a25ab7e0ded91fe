"""A worker as the driver sees it, and how long the driver waits for it: `PooledWorker`, `PoolTimes`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spinesearch.search.workers.worker import Greeting


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolTimes:
    """How long the pool waits for what, in seconds.

    Attributes:
        look_s: between two looks at the cluster's nodes.
        open_s: for a worker to open its data: a first packing of a very large data set takes hours.
        slow_open_s: until people are told that a worker is still at it.
        prompt_s: for an idle worker to answer until another is asked too.
        ping_s: for an idle worker to answer until it is given up; on a crowded machine it may take seconds.
        patience_s: without a ready worker until people are told what is missing.
        repeat_s: until they are told again.
        retry_node_s: until a node that was refused is tried again: somebody may have mended it.
        join_s: for another node to join where all that are there were refused.
        backoff_s: after workers died while starting, doubled with each round.
    """

    look_s: float = 2.0
    open_s: float = 4 * 3600.0
    slow_open_s: float = 60.0
    prompt_s: float = 1.0
    ping_s: float = 30.0
    patience_s: float = 20.0
    repeat_s: float = 600.0
    retry_node_s: float = 600.0
    join_s: float = 300.0
    backoff_s: float = 0.5


@dataclass(kw_only=True, slots=True, eq=False)
class PooledWorker:
    """A worker as the driver sees it.

    Attributes:
        actor: Ray's handle.
        started: when, by the pool's clock.
        asked: when the call was made that it has not answered.
        greeting: who it is; None until it has a place and runs.
        num_scored: candidates it has scored.
    """

    actor: Any
    started: float
    asked: float
    greeting: Greeting | None = None
    num_scored: int = 0

    def __str__(self) -> str:
        """The worker for people."""
        return f"a worker on node {self.greeting.node_name}" if self.greeting else "a worker"
