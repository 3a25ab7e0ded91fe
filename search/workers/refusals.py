"""Which workers are refused and which nodes left alone: `differences`, `RefusedNodes`, `LossesInARow`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spinesearch.search.environment import CodeVersion


def differences(ours: CodeVersion, theirs: CodeVersion) -> str:
    """How a worker's code differs from the driver's, torch apart, and what to do; empty if it does not."""
    if ours.version != theirs.version:
        return (
            f"it has spinesearch {theirs.version}, this search runs {ours.version}; "
            "install the same release there"
        )
    if ours.sources != theirs.sources:
        return (
            f"its spinesearch {theirs.version} has other sources (digest {theirs.sources}, here "
            f"{ours.sources}); check out the same commit there, or resume if the files here were edited since"
        )
    return ""


class RefusedNodes:
    """Nodes whose workers were refused, each left alone for a while.

    Args:
        retry_s: after so long a node is tried again: somebody may have mended it.
    """

    def __init__(self, retry_s: float) -> None:
        self._retry_s = retry_s
        self._until: dict[str, float] = {}
        self._told: set[tuple[str, str]] = set()
        self.last_reason = ""

    @property
    def ids(self) -> frozenset[str]:
        """Ids of the nodes that are left alone now."""
        return frozenset(self._until)

    def add(self, node_id: str, reason: str, now: float) -> bool:
        """Refuse a node; returns whether this is news to people."""
        self._until[node_id] = now + self._retry_s
        self.last_reason = reason
        is_news = (node_id, reason) not in self._told
        self._told.add((node_id, reason))
        return is_news

    def forget_expired(self, now: float) -> bool:
        """Drop the nodes that may be tried again; returns whether there were any."""
        expired = [node_id for node_id, until in self._until.items() if until <= now]
        for node_id in expired:
            del self._until[node_id]
        return bool(expired)

    def any_alive(self, nodes: Sequence[Mapping[str, Any]]) -> bool:
        """Whether a node left alone is still in the cluster, going by `ray.nodes`."""
        return any(node["Alive"] and node["NodeID"] in self._until for node in nodes)


class LossesInARow:
    """How often each node lost workers with nothing scored there in between.

    Workers that are lost together, as by one failure of their node, count once.
    """

    def __init__(self) -> None:
        self._counts: dict[str, tuple[int, float]] = {}  # by node: losses, and when the last was noticed

    def add(self, node_id: str, began: float, now: float) -> int:
        """Count a worker that was lost in what it had begun then; returns the number in a row."""
        count, last = self._counts.get(node_id, (0, began))
        if began >= last:
            count += 1
        self._counts[node_id] = count, now
        return count

    def forget(self, node_id: str) -> None:
        """Something was scored there."""
        self._counts.pop(node_id, None)
