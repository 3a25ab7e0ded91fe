"""The nodes of a cluster as a search knows them, and which it leaves alone and why: `NodeWatch`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray.exceptions import RayError

from spinesearch.search.workers.pooled_worker import PoolTimes
from spinesearch.search.workers.refusals import LossesInARow, RefusedNodes
from spinesearch.search.workers.trial_resources import TrialResources, cluster_nodes
from spinesearch.search.workers.worker import Greeting

_MAX_LOSSES_IN_A_ROW = 3  # of one node, while others are there


class NodeWatch:
    """Leaves nodes alone for a while whose workers are refused, or lost one after the other.

    Args:
        resources: what each worker needs.
        times: how long to wait for what.
        warn: told in one line of every node that is left alone, and when none is left.
        may_grow: whether nodes may join, so that having refused all that are there is not the end.
    """

    def __init__(
        self, resources: TrialResources, times: PoolTimes, warn: Callable[[str], None], *, may_grow: bool
    ) -> None:
        self._resources = resources
        self._times = times
        self._warn = warn
        self._may_grow = may_grow
        self._refused = RefusedNodes(times.retry_node_s)
        self._losses = LossesInARow()
        self._waiting_since: float | None = None
        self._told_of_opening: set[str] = set()

    @property
    def refused(self) -> frozenset[str]:
        """Ids of the nodes that are left alone now."""
        return self._refused.ids

    @property
    def last_reason(self) -> str:
        """Why the last of them is."""
        return self._refused.last_reason

    def forget_expired(self, now: float) -> bool:
        """Drop the nodes that may be tried again; returns whether there were any."""
        return self._refused.forget_expired(now)

    def room(self, nodes: Sequence[Mapping[str, Any]], also_without: str = "") -> int:
        """How many workers the living nodes would have room for, without those that are left alone."""
        return self._resources.workers_that_fit(nodes, self.refused | {also_without})

    def is_hopeless(self, nodes: Sequence[Mapping[str, Any]], now: float) -> bool:
        """Whether there is no use in asking for workers: all nodes were refused, and no other has joined.

        New workers would wait for a place that the nodes there are may not give.
        """
        if self.room(nodes) or not self._refused.any_alive(nodes):
            self._waiting_since = None
            return False
        if not self._may_grow:
            return True
        if self._waiting_since is None:
            self._waiting_since = now
            self._warn(f"no other node is there; waiting up to {self._times.join_s:.0f} s for one to join")
        return now - self._waiting_since >= self._times.join_s

    def refuse(self, node_id: str, reason: str, now: float) -> None:
        """Leave a node alone whose worker is of no use."""
        if self._refused.add(node_id, reason, now):
            self._warn(f"{reason}; going on without it")

    def refuse_at(self, address: str, message: str, now: float) -> bool:
        """The same by its IP address, where a worker's code could not be imported; False if none has it."""
        try:
            nodes = cluster_nodes()
        except RayError:  # the head is busy or gone
            return False
        found = [node["NodeID"] for node in nodes if node["Alive"] and node["NodeManagerAddress"] == address]
        for node_id in found:
            self.refuse(
                node_id,
                f"a worker on the node at {address} is refused: its Python has not what this search runs "
                f"({message}); install spinesearch there as it is here",
                now,
            )
        return bool(found)

    def tell_of_opening(self, greeting: Greeting) -> None:
        """Say, once per node, why a worker there gets no candidate yet."""
        if greeting.node_id not in self._told_of_opening:
            self._told_of_opening.add(greeting.node_id)
            self._warn(
                f"a worker on node {greeting.node_name} is still opening its data: the first one on a "
                "machine packs them, which may take as long there as it took here"
            )

    def scored(self, greeting: Greeting) -> None:
        """A worker has come to the end of a candidate: its node is in order."""
        self._losses.forget(greeting.node_id)

    def lost(self, greeting: Greeting, began: float, now: float, reason: str, *, is_second: bool) -> bool:
        """Count a lost worker; returns whether its node is left alone for it, which takes that others live.

        Args:
            greeting: the worker's.
            began: when it began what it was lost in.
            now: the time.
            reason: why it was lost.
            is_second: whether the same candidate was lost on its node before.
        """
        count = self._losses.add(greeting.node_id, began, now)
        if (count < _MAX_LOSSES_IN_A_ROW and not is_second) or greeting.node_id in self.refused:
            return False
        try:
            if not self.room(cluster_nodes(), also_without=greeting.node_id):
                return False
        except RayError:  # the head is busy or gone
            return False
        times = f"{count} times in a row" if count >= _MAX_LOSSES_IN_A_ROW else "twice with one candidate"
        told = f"workers on node {greeting.node_name} were lost {times}, the last: {reason}"
        self._refused.add(greeting.node_id, told, now)
        self._warn(f"{told}; leaving that node alone for {self._times.retry_node_s:.0f} s")
        return True
