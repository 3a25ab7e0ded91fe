"""The states of workers and nodes, every change between them, without a Ray."""

from itertools import product
from pathlib import Path

import pytest

from spinesearch.search.workers.worker_states import (
    MAX_FAILED_STARTS,
    TRANSITIONS,
    FailedStarts,
    NodeStates,
    PoolTimes,
    Verdict,
    WorkerEvent,
    WorkerState,
    next_state,
)

# Typed out: state, event, next state, and of an end what it means. docs/cluster.md has the same.
TABLE = """
pending  WELCOMED  opening
pending  UNWANTED  ended    NO_FAULT
pending  REFUSED   ended    REFUSED
pending  DIED      ended    FAILED_START
pending  SURPLUS   ended    NO_FAULT
pending  CLOSED    ended    NO_FAULT
opening  OPENED    ready
opening  REFUSED   ended    REFUSED
opening  DIED      ended    FAILED_START
opening  SILENT    ended    FAILED_START
opening  CLOSED    ended    NO_FAULT
ready    GIVEN     busy
ready    RELEASED  idle
ready    WORN      ended    NO_FAULT
ready    CLOSED    ended    NO_FAULT
idle     ASKED     asked
idle     SURPLUS   ended    NO_FAULT
idle     CLOSED    ended    NO_FAULT
asked    ANSWERED  ready
asked    DIED      ended    NO_FAULT
asked    SILENT    ended    NO_FAULT
asked    CLOSED    ended    NO_FAULT
busy     ANSWERED  ready
busy     DIED      ended    LOST
busy     SILENT    ended    LOST
busy     CLOSED    ended    NO_FAULT
"""
EXPECTED = {
    (WorkerState(row[0]), WorkerEvent[row[1]]): (
        WorkerState(row[2]),
        Verdict[row[3]] if row[3:] else None,
    )
    for row in map(str.split, TABLE.split("\n")[1:-1])
}


def test_every_change_is_as_typed_out_and_no_other_can_happen():
    for state, event in product(WorkerState, WorkerEvent):
        if (state, event) in EXPECTED:
            assert next_state(state, event) == EXPECTED[state, event]
        else:
            with pytest.raises(ValueError, match=f"a worker that is {state.value} cannot be"):
                next_state(state, event)


def test_an_end_has_a_meaning_and_nothing_else_has():
    for state, verdict in TRANSITIONS.values():
        assert (state is WorkerState.ENDED) == (verdict is not None)


def test_every_state_is_reached_and_can_end():
    reached = {WorkerState.PENDING}
    for _ in WorkerState:
        reached |= {after for (before, _), (after, _) in TRANSITIONS.items() if before in reached}
    assert reached == set(WorkerState)
    for state in set(WorkerState) - {WorkerState.ENDED}:
        assert (state, WorkerEvent.CLOSED) in TRANSITIONS


def test_only_a_busy_worker_is_lost():
    lost = {state for (state, _), (_, verdict) in TRANSITIONS.items() if verdict is Verdict.LOST}
    assert lost == {WorkerState.BUSY}


def test_the_documentation_has_this_table():
    """Every row of it: | state | what happens | next | what its end means |."""
    text = (Path(__file__).parents[3] / "docs" / "cluster.md").read_text()
    for (state, event), (after, _) in EXPECTED.items():
        if event is not WorkerEvent.CLOSED:
            assert f"| {state.value} | `{event.name}` | {after.value} |" in text


def test_how_long_a_worker_may_be_silent():
    times = PoolTimes(open_s=100, ping_s=10)
    assert not times.is_silent(WorkerState.OPENING, 100)
    assert times.is_silent(WorkerState.OPENING, 101)
    assert not times.is_silent(WorkerState.ASKED, 10)
    assert times.is_silent(WorkerState.ASKED, 11)
    for state in (WorkerState.PENDING, WorkerState.IDLE, WorkerState.READY, WorkerState.BUSY):
        assert not times.is_silent(
            state, 1e9
        )  # a pending one waits for a node; of a busy one, see TrialTimeout


def test_workers_that_die_while_starting_are_started_after_longer_and_longer_pauses():
    starts = FailedStarts(backoff_s=1)
    assert starts.may_start(0)
    assert starts.add(started=0, now=10) == 1
    assert starts.add(started=5, now=11) == 1  # with the first, as it was started before that died
    assert not starts.may_start(11.9)
    assert starts.may_start(12)
    for count in range(2, 12):
        assert starts.add(started=100 * count, now=100 * count) == count
    assert not starts.may_start(1159)
    assert starts.may_start(1160)  # a minute at most
    starts.none_since()
    assert starts.add(started=2000, now=2000) == 1
    assert MAX_FAILED_STARTS > 1


def test_a_node_with_a_refused_worker_is_left_alone_for_a_while_and_named_once():
    nodes = NodeStates(retry_s=600)
    assert nodes.refused("a", "other code", now=0)
    assert nodes.left_alone == {"a"}
    assert not nodes.try_again(599)
    assert nodes.try_again(600)
    assert nodes.left_alone == set()
    assert not nodes.refused("a", "other code", now=601)
    assert nodes.refused("a", "no data", now=602)
    assert nodes.last_reason == "no data"


def lose(nodes: NodeStates, began: float, *, is_second: bool = False, others_have_room: bool = True) -> str:
    return nodes.lost(
        "a",
        "host",
        began,
        began + 1,
        "{it} died",
        is_second=is_second,
        others_have_room=lambda: others_have_room,
    )


def test_what_a_node_may_lose():
    nodes = NodeStates(retry_s=600)
    assert lose(nodes, 0) == ""
    assert lose(nodes, 0.5) == ""  # lost together with the first: it counts no more
    assert lose(nodes, 10) == ""
    nodes.scored("a")
    assert lose(nodes, 20) == lose(nodes, 30) == ""
    assert lose(nodes, 40, others_have_room=False) == ""  # the last node is never left alone for this
    assert lose(nodes, 50) == "workers on node host were lost 4 times in a row, the last: {it} died"
    assert nodes.left_alone == {"a"}
    assert lose(nodes, 60) == ""  # it is left alone already
    assert nodes.try_again(651)
    nodes.scored("a")
    assert lose(nodes, 700, is_second=True, others_have_room=False) == ""
    nodes.scored("a")
    assert "lost twice with one candidate" in lose(nodes, 800, is_second=True)
    assert nodes.last_reason.endswith("{it} died")


def test_whether_others_have_room_is_asked_only_where_it_matters():
    def asked() -> bool:
        raise AssertionError

    nodes = NodeStates(retry_s=600)
    for began in (0, 10):
        assert not nodes.lost("a", "host", began, began, "", is_second=False, others_have_room=asked)
    nodes.refused("a", "no data", 20)
    assert not nodes.lost("a", "host", 30, 30, "", is_second=True, others_have_room=asked)
