"""Nodes as Ray lists them."""

from __future__ import annotations


def node(name: str, alive: bool = True, **resources: float) -> dict[str, object]:
    return {"NodeID": name, "Alive": alive, "Resources": resources}
