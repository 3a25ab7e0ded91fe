"""The nodes of a cluster as a search looks at them: `NodeWatch`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray.exceptions import RayError

from spinesearch.search.workers.trial_resources import TrialResources, cluster_nodes, cluster_resources
from spinesearch.search.workers.worker import Greeting
from spinesearch.search.workers.worker_states import NodeStates, PoolTimes


class NodeWatch:
    """Looks at the cluster's nodes, and warns of those that `NodeStates` leaves alone.

    Args:
        resources: what each worker needs.
        times: how long to wait for what.
        warn: receives one line for every node that is left alone, and when none is left.
        may_grow: whether nodes may join, so that having refused all that are there is not the end.
    """

    def __init__(
        self, resources: TrialResources, times: PoolTimes, warn: Callable[[str], None], *, may_grow: bool
    ) -> None:
        self._resources = resources
        self._times = times
        self._warn = warn
        self._may_grow = may_grow
        self._states = NodeStates(times.retry_node_s)
        self._waiting_since: float | None = None
        self._warned_of_opening: set[str] = set()
        self._warned_of_torch: set[str] = set()

    @property
    def left_alone(self) -> frozenset[str]:
        """Ids of the nodes that get no workers now."""
        return self._states.left_alone

    @property
    def last_reason(self) -> str:
        """Why the last of them was left alone."""
        return self._states.last_reason

    def try_again(self, now: float) -> bool:
        """Use the nodes again whose time is up; returns whether there were any."""
        return self._states.try_again(now)

    def room(self, nodes: Sequence[Mapping[str, Any]], also_without: str = "") -> int:
        """How many workers the living nodes would have room for, without those that are left alone."""
        return self._resources.workers_that_fit(nodes, self.left_alone | {also_without})

    def is_hopeless(self, nodes: Sequence[Mapping[str, Any]], now: float) -> bool:
        """Whether requesting workers is useless: all nodes were refused, and no other has joined.

        New workers would wait for a place that the nodes there are may not give.
        """
        left_alone = self.left_alone
        if self.room(nodes) or not any(node["Alive"] and node["NodeID"] in left_alone for node in nodes):
            self._waiting_since = None
            return False
        if not self._may_grow:
            return True
        if self._waiting_since is None:
            self._waiting_since = now
            self._warn(f"no other node is there; waiting up to {self._times.join_s:.0f} s for one to join")
        return now - self._waiting_since >= self._times.join_s

    def refused(self, node_id: str, reason: str, now: float) -> None:
        """A worker there was refused."""
        if self._states.refused(node_id, reason, now):
            self._warn(f"{reason}; continuing without it")

    def refused_at(self, address: str, message: str, now: float) -> bool:
        """The same by its IP address, where a worker's code could not be imported; False if none has it."""
        try:
            nodes = cluster_nodes()
        except RayError:  # the head is busy or gone
            return False
        found = [node["NodeID"] for node in nodes if node["Alive"] and node["NodeManagerAddress"] == address]
        for node_id in found:
            self.refused(
                node_id,
                f"a worker on the node at {address} is refused: its Python does not have what this search "
                f"runs ({message}); install spinesearch there as it is here",
                now,
            )
        return bool(found)

    def warn_of_opening(self, greeting: Greeting) -> None:
        """Warn, once per node, that a worker there gets no candidate yet."""
        if greeting.node_id not in self._warned_of_opening:
            self._warned_of_opening.add(greeting.node_id)
            self._warn(
                f"a worker on node {greeting.node_name} is still opening its data: the first one on a "
                "machine packs them, which may take as long there as it took here"
            )

    def warn_of_torch(self, greeting: Greeting, torch_here: str) -> None:
        """Warn, once per node, that a worker there has another torch than this process."""
        if greeting.node_id not in self._warned_of_torch:
            self._warned_of_torch.add(greeting.node_id)
            self._warn(
                f"a worker on node {greeting.node_name} has torch {greeting.code.torch}, this process "
                f"{torch_here}: its scores may differ in the last digits"
            )

    def warn_of_missing(self) -> None:
        """Warn that no worker finds a place: what each needs, and what the nodes have."""
        with contextlib.suppress(RayError):  # the head is busy or gone
            has = cluster_resources()
            names = ("CPU", "GPU", *self._resources.custom)
            there = " and ".join(f"{has.get(name, 0):g} {name}" for name in names)
            self._warn(
                f"no worker is ready: each needs {self._resources} on one node, the nodes have {there} "
                "together; still waiting"
            )

    def scored(self, greeting: Greeting) -> None:
        """A worker has come to the end of a candidate: its node works."""
        self._states.scored(greeting.node_id)

    def lost(self, greeting: Greeting, began: float, now: float, reason: str, *, is_second: bool) -> bool:
        """A worker was lost; returns whether its node is left alone for it.

        Args:
            greeting: the worker's.
            began: when it began what it was lost in.
            now: the time.
            reason: why it was lost.
            is_second: whether the same candidate was lost on its node before.
        """
        why = self._states.lost(
            greeting.node_id,
            greeting.node_name,
            began,
            now,
            reason,
            is_second=is_second,
            others_have_room=lambda: self._has_room_without(greeting.node_id),
        )
        if why:
            self._warn(f"{why}; leaving that node alone for {self._times.retry_node_s:.0f} s")
        return bool(why)

    def _has_room_without(self, node_id: str) -> bool:
        try:
            return self.room(cluster_nodes(), also_without=node_id) > 0
        except RayError:  # the head is busy or gone
            return False
