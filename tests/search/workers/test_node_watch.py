"""Nodes that lose worker after worker, without a Ray."""

import pytest
from ray_nodes import node

from spinesearch.search.environment import CodeVersion
from spinesearch.search.workers import node_watch
from spinesearch.search.workers.node_watch import NodeWatch
from spinesearch.search.workers.trial_resources import TrialResources
from spinesearch.search.workers.worker import Greeting
from spinesearch.search.workers.worker_states import PoolTimes

CODE = CodeVersion(version="0.1.0", sources="aaa", scoring_sources="ccc", torch="2.13.0")


def greeting(node_id: str) -> Greeting:
    return Greeting(worker="w:1", host=f"host-{node_id}", ip="10.0.0.7", node_id=node_id, code=CODE)


@pytest.fixture
def watch(monkeypatch):
    """A `NodeWatch` of nodes a and b, and what it has warned of."""
    nodes = [node("a", CPU=2), node("b", CPU=2)]
    monkeypatch.setattr(node_watch, "cluster_nodes", lambda: nodes)
    warnings: list[str] = []

    def build(**options):
        return NodeWatch(
            TrialResources(cpus=1), PoolTimes(), warnings.append, **{"may_grow": False} | options
        )

    return build, nodes, warnings


def lose(watch: NodeWatch, name: str, began: float, now: float, is_second: bool = False) -> bool:
    return watch.lost(greeting(name), began, now, "it died", is_second=is_second)


def test_a_node_that_loses_three_times_in_a_row_is_left_alone(watch):
    build, nodes, warnings = watch
    watched = build()
    assert not lose(watched, "a", 0, 10)
    assert not lose(watched, "a", 5, 10)  # lost together with the first: it counts no more
    assert not lose(watched, "a", 11, 20)
    watched.scored(greeting("a"))  # the node is in order
    assert not lose(watched, "a", 21, 30)
    assert not lose(watched, "b", 21, 30)  # another node's losses are its own
    assert not lose(watched, "a", 31, 40)
    assert not warnings
    assert lose(watched, "a", 41, 50)
    assert watched.left_alone == {"a"}
    assert warnings == [
        "workers on node host-a (10.0.0.7) were lost 3 times in a row, the last: it died; "
        "leaving that node alone for 600 s"
    ]
    assert watched.room(nodes) == 2
    assert watched.try_again(650)
    assert watched.room(nodes) == 4


def test_a_candidate_lost_twice_on_a_node_is_enough(watch):
    build, _, warnings = watch
    watched = build()
    assert not lose(watched, "a", 0, 10)
    assert lose(watched, "a", 11, 20, is_second=True)
    assert "lost twice with one candidate" in warnings[0]


def test_the_last_node_is_never_left_alone_for_its_losses(watch):
    build, nodes, _ = watch
    watched = build()
    nodes[1]["Alive"] = False
    for now in range(0, 100, 10):
        assert not lose(watched, "a", now, now + 5, is_second=True)


def test_with_all_nodes_refused_there_is_hope_only_where_others_may_join(watch):
    build, nodes, warnings = watch
    static, growing = build(), build(may_grow=True)
    for watched in (static, growing):
        watched.refused("a", "no data", 0)
        assert not watched.is_hopeless(nodes, 0)
        watched.refused("b", "no data", 1)
    del warnings[:]
    assert static.is_hopeless(nodes, 1)
    assert not growing.is_hopeless(nodes, 1)
    assert not growing.is_hopeless(nodes, 300)
    assert warnings == ["no other node is there; waiting up to 300 s for one to join"]
    assert growing.is_hopeless(nodes, 301)
    nodes.append(node("c", CPU=1))
    assert not growing.is_hopeless(nodes, 302)
    assert not static.is_hopeless(nodes, 302)


def test_a_node_is_refused_by_its_address_if_there_is_one(watch):
    build, nodes, warnings = watch
    watched = build()
    nodes[0]["NodeManagerAddress"], nodes[1]["NodeManagerAddress"] = "10.0.0.1", "10.0.0.2"
    assert not watched.refused_at("10.0.0.9", "No module named 'spinesearch'", 0)
    assert watched.refused_at("10.0.0.2", "No module named 'spinesearch'", 0)
    assert watched.left_alone == {"b"}
    assert len(warnings) == 1
