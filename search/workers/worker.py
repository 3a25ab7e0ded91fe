"""The process that scores candidates on a cluster: `Worker`, a Ray actor, and what it reports."""

from __future__ import annotations

import os
import resource
import socket
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import ray
from ray import cloudpickle

from spinesearch.search.environment import CodeVersion, code_version
from spinesearch.search.scoring.scorer import (
    Job,
    OpenScore,
    Outcome,
    Score,
    SteppedScore,
    WearingScore,
    run_job,
)
from spinesearch.search.workers.pace import PaceMeter, publish_pace


@dataclass(frozen=True, kw_only=True, slots=True)
class Greeting:
    """Who a worker is, reported before it opens or unpickles anything of the driver's.

    Attributes:
        worker: host name and process id.
        host: its node's name.
        ip: its node's address.
        node_id: Ray's id of the node.
        code: what it would score with.
    """

    worker: str
    host: str
    ip: str
    node_id: str
    code: CodeVersion

    @property
    def node(self) -> str:
        """The node in the ledger; a later machine may get the same address, so Ray's id is part of it."""
        return f"{self.ip}/{self.node_id[:8]}"

    @property
    def node_name(self) -> str:
        """The node for people."""
        return f"{self.host} ({self.ip})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came of handing a worker a candidate.

    Attributes:
        outcome: None if the process is no longer usable, as when its device is lost.
        reason: why, then.
        memory_bytes: memory of the process's own after the candidate.
        is_worn: whether the process had better score no other.
    """

    outcome: Outcome | None
    reason: str = ""
    memory_bytes: int = 0
    is_worn: bool = False


class Worker:
    """Scores candidates, one at a time, on a proxy task opened once. Runs as a Ray actor."""

    def __init__(self) -> None:
        self._score: Score | None = None
        self._worker = f"{socket.gethostname()}:{os.getpid()}"
        self._node = ""

    def greet(self) -> Greeting:
        """Who this is; the driver decides whether it is wanted."""
        greeting = Greeting(
            worker=self._worker,
            host=socket.gethostname(),
            ip=ray.util.get_node_ip_address(),  # type: ignore[no-untyped-call]
            node_id=ray.get_runtime_context().get_node_id(),
            code=code_version(),
        )
        self._node = greeting.node
        return greeting

    def open(self, open_score: bytes) -> None:
        """Open the proxy task.

        Args:
            open_score: what opens it, pickled, so that nothing of it is unpickled before the driver has
                accepted this worker's code.
        """
        opener: OpenScore = cloudpickle.loads(open_score)
        self._score = opener()

    def ping(self) -> None:
        """Nothing; that it answers shows that the worker lives."""

    def score(self, job: Job) -> Answer:
        """Score a candidate; its own failure is an outcome too."""
        assert self._score is not None
        if isinstance(self._score, SteppedScore):
            self._score.on_step = PaceMeter(partial(publish_pace, job.trial))
        try:
            outcome = run_job(self._score, job, self._worker, self._node)
        except SystemExit as error:  # DeviceLost and DeviceCrowded among them
            return Answer(outcome=None, reason=f"{type(error).__name__}: {error}")
        is_worn = isinstance(self._score, WearingScore) and self._score.is_worn
        return Answer(outcome=outcome, memory_bytes=own_memory_bytes(), is_worn=is_worn)


def own_memory_bytes() -> int:
    """Resident memory that this process has to itself; where that is not known, the most it has occupied.

    Without pages of files: those of the packed data are the page cache's, which all workers share and the
    system takes back at will.
    """
    try:
        _, resident, of_files, *_ = map(int, Path("/proc/self/statm").read_text(encoding="ascii").split())
    except OSError:  # not Linux
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
    return (resident - of_files) * os.sysconf("SC_PAGE_SIZE")
