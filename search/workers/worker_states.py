"""What becomes of a worker and of its node: their states, and every change between them. No Ray in here.

Here a worker is declared lost, refused or unable to start, and a node left alone. `worker_pool` reports what
happens and carries out what these tables say; docs/cluster.md draws them.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum


class WorkerState(Enum):
    """Where a worker stands."""

    PENDING = "pending"  # Ray has found no place for it yet, or it has not greeted yet
    OPENING = "opening"  # it opens its data
    READY = "ready"  # it has just answered: it gets a candidate or becomes idle at once
    IDLE = "idle"  # there was no candidate for it; it may have died since
    ASKED = "asked"  # it was idle, and is asked whether it lives before it gets a candidate
    BUSY = "busy"  # it has a candidate
    ENDED = "ended"


class WorkerEvent(Enum):
    """What happens to a worker, by its own report, by the pool's decision, or by its silence."""

    WELCOMED = enum.auto()  # it greeted, and its code is this search's
    UNWANTED = enum.auto()  # it greeted from a node that is left alone by now
    REFUSED = enum.auto()  # its code differs or cannot be imported, or it cannot open the data
    OPENED = enum.auto()  # its data are open
    GIVEN = enum.auto()  # it is given a candidate
    RELEASED = enum.auto()  # there is no candidate for it
    ASKED = enum.auto()  # it is asked whether it lives
    ANSWERED = enum.auto()  # it answers that, or has come to the end of its candidate
    DIED = enum.auto()  # its process, node or device is gone
    SILENT = enum.auto()  # it has not answered for too long
    WORN = enum.auto()  # it has had its share of candidates, or has grown too large
    SURPLUS = enum.auto()  # it is no longer needed where it is, or would be
    CLOSED = enum.auto()  # the search is over


class Verdict(Enum):
    """What the end of a worker means."""

    NO_FAULT = enum.auto()  # nothing: another is started where one is needed
    REFUSED = enum.auto()  # its node is left alone
    FAILED_START = enum.auto()  # too many of them in a row end the search; a loss of its node's
    LOST = enum.auto()  # its candidate is tried again; a loss of its node's


_S, _E, _V = WorkerState, WorkerEvent, Verdict

TRANSITIONS: dict[tuple[WorkerState, WorkerEvent], tuple[WorkerState, Verdict | None]] = {
    (_S.PENDING, _E.WELCOMED): (_S.OPENING, None),
    (_S.PENDING, _E.UNWANTED): (_S.ENDED, _V.NO_FAULT),
    (_S.PENDING, _E.REFUSED): (_S.ENDED, _V.REFUSED),
    (_S.PENDING, _E.DIED): (_S.ENDED, _V.FAILED_START),
    (_S.PENDING, _E.SURPLUS): (_S.ENDED, _V.NO_FAULT),
    (_S.OPENING, _E.OPENED): (_S.READY, None),
    (_S.OPENING, _E.REFUSED): (_S.ENDED, _V.REFUSED),
    (_S.OPENING, _E.DIED): (_S.ENDED, _V.FAILED_START),
    (_S.OPENING, _E.SILENT): (_S.ENDED, _V.FAILED_START),
    (_S.READY, _E.GIVEN): (_S.BUSY, None),
    (_S.READY, _E.RELEASED): (_S.IDLE, None),
    (_S.READY, _E.WORN): (_S.ENDED, _V.NO_FAULT),
    (_S.IDLE, _E.ASKED): (_S.ASKED, None),
    (_S.IDLE, _E.SURPLUS): (_S.ENDED, _V.NO_FAULT),
    (_S.ASKED, _E.ANSWERED): (_S.READY, None),
    (_S.ASKED, _E.DIED): (_S.ENDED, _V.NO_FAULT),  # not reported: no candidate was its own
    (_S.ASKED, _E.SILENT): (_S.ENDED, _V.NO_FAULT),
    (_S.BUSY, _E.ANSWERED): (_S.READY, None),
    (_S.BUSY, _E.DIED): (_S.ENDED, _V.LOST),
    (_S.BUSY, _E.SILENT): (_S.ENDED, _V.LOST),
    **{(state, _E.CLOSED): (_S.ENDED, _V.NO_FAULT) for state in _S if state is not _S.ENDED},
}
"""By state and event: the next state, and of an end what it means. Nothing else can happen."""


def next_state(state: WorkerState, event: WorkerEvent) -> tuple[WorkerState, Verdict | None]:
    """The state that follows, and of an end what it means.

    Raises:
        ValueError: the event cannot happen in this state.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ValueError(f"a worker that is {state.value} cannot be {event.name.lower()}") from None


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolTimes:
    """How long the pool waits for what, in seconds.

    Attributes:
        look_s: between two looks at the cluster's nodes.
        open_s: for a worker to open its data: a first packing of a very large data set takes hours.
        slow_open_s: until a warning says that a worker is still at it.
        prompt_s: for an idle worker to answer until another is asked too.
        ping_s: for an idle worker to answer until it is replaced; on a crowded machine it may take seconds.
        patience_s: without a ready worker until a warning says what is missing.
        repeat_s: until it says so again.
        retry_node_s: until a node that is left alone is tried again: somebody may have repaired it.
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

    def is_silent(self, state: WorkerState, silent_s: float) -> bool:
        """Whether a worker in this state has not answered for too long; of a busy one the scorer decides."""
        longest_s = {WorkerState.OPENING: self.open_s, WorkerState.ASKED: self.ping_s}.get(state)
        return longest_s is not None and silent_s > longest_s


MAX_FAILED_STARTS = 5  # rounds of workers that died before they were ready, while none was
_LONGEST_BACKOFF_S = 60.0


class FailedStarts:
    """Workers that died one after the other before they were ready, and the pause before the next start.

    Args:
        backoff_s: half the pause after the first; it doubles with each.
    """

    def __init__(self, backoff_s: float) -> None:
        self._backoff_s = backoff_s
        self._count = 0
        self._last = -1.0
        self._no_start_before = -1.0

    def add(self, started: float, now: float) -> int:
        """Count one that was started then; returns how many there are in a row.

        Workers that die together, as with their node, count once.
        """
        if started >= self._last:
            self._count += 1
            self._no_start_before = now + min(_LONGEST_BACKOFF_S, self._backoff_s * 2**self._count)
        self._last = now
        return self._count

    def none_since(self) -> None:
        """A worker has become ready."""
        self._count = 0

    def may_start(self, now: float) -> bool:
        """Whether the pause is over."""
        return now >= self._no_start_before


class NodeState(Enum):
    """Whether a node gets workers."""

    IN_USE = "in use"
    LEFT_ALONE = "left alone"


MAX_LOSSES_IN_A_ROW = 3  # of one node, while others have room


@dataclass(kw_only=True, slots=True)
class _Node:
    """A node.

    Attributes:
        state: whether it gets workers.
        until: when a node that is left alone is tried again.
        num_losses: workers lost there with nothing scored in between.
        last_loss: when the last was noticed.
        reasons: why it was ever left alone.
    """

    state: NodeState = NodeState.IN_USE
    until: float = 0.0
    num_losses: int = 0
    last_loss: float | None = None
    reasons: set[str] = field(default_factory=set)


class NodeStates:
    """The nodes by their ids, and what changes their states.

    A node is left alone for a while when a worker there is refused, and when it loses worker after worker, or
    one candidate twice, while other nodes have room: the last node is never left alone for its losses.

    Args:
        retry_s: after so long a node is tried again: somebody may have repaired it.
    """

    def __init__(self, retry_s: float) -> None:
        self._retry_s = retry_s
        self._nodes: dict[str, _Node] = {}
        self._last_reason = ""

    @property
    def left_alone(self) -> frozenset[str]:
        """Ids of the nodes that get no workers now."""
        return frozenset(i for i, node in self._nodes.items() if node.state is NodeState.LEFT_ALONE)

    @property
    def last_reason(self) -> str:
        """Why the last of them was left alone."""
        return self._last_reason

    def refused(self, node_id: str, reason: str, now: float) -> bool:
        """A worker there was refused; returns whether the reason is new."""
        node = self._node(node_id)
        is_new = reason not in node.reasons
        self._leave_alone(node, reason, now)
        return is_new

    def lost(
        self,
        node_id: str,
        node_name: str,
        began: float,
        now: float,
        reason: str,
        *,
        is_second: bool,
        others_have_room: Callable[[], bool],
    ) -> str:
        """A worker there was lost; returns why the node is left alone for it, empty if it is not.

        Workers that are lost together, as by one failure of their node, count once.

        Args:
            node_id: the node.
            node_name: its name for people.
            began: when the worker began what it was lost in.
            now: the time.
            reason: why the worker was lost.
            is_second: whether the same candidate was lost there before.
            others_have_room: called where it matters.
        """
        node = self._node(node_id)
        if node.last_loss is None or began >= node.last_loss:
            node.num_losses += 1
        node.last_loss = now
        is_row = node.num_losses >= MAX_LOSSES_IN_A_ROW
        if node.state is NodeState.LEFT_ALONE or not (is_row or is_second) or not others_have_room():
            return ""
        times = f"{node.num_losses} times in a row" if is_row else "twice with one candidate"
        self._leave_alone(node, f"workers on node {node_name} were lost {times}, the last: {reason}", now)
        return self._last_reason

    def scored(self, node_id: str) -> None:
        """A candidate came to its end there: the node works."""
        node = self._node(node_id)
        node.num_losses, node.last_loss = 0, None

    def try_again(self, now: float) -> bool:
        """Use the nodes again whose time is up; returns whether there were any."""
        expired = [n for n in self._nodes.values() if n.state is NodeState.LEFT_ALONE and n.until <= now]
        for node in expired:
            node.state = NodeState.IN_USE
        return bool(expired)

    def _node(self, node_id: str) -> _Node:
        return self._nodes.setdefault(node_id, _Node())

    def _leave_alone(self, node: _Node, reason: str, now: float) -> None:
        node.state, node.until = NodeState.LEFT_ALONE, now + self._retry_s
        node.reasons.add(reason)
        self._last_reason = reason
