"""What a picture of a network shows: blocks as nodes by order and level, connections as edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spinesearch.space.arch.identity import live_blocks
from spinesearch.space.arch.resnet import LATERAL_LEVELS, RESNET_LEVELS, ResNetSpec
from spinesearch.space.arch.spec import OUTPUT_LEVELS, ArchSpec

EdgeKind = Literal["plain", "implicit", "dead"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One block.

    Attributes:
        level: the row it stands in.
        kind: its shape: a block type, or ``pyramid`` for the convolutions of a feature pyramid.
        label: short text inside of it.
        title: what a mouse that rests on it is told.
        output: the level of the feature it puts out, as in ``P5``; empty for none.
        is_dead: whether no output depends on it.
    """

    level: int
    kind: str
    label: str
    title: str
    output: str = ""
    is_dead: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """One connection, from the node at position ``source`` to the later one at ``target``."""

    source: int
    target: int
    kind: EdgeKind = "plain"


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """Nodes in order, edges between them, and the first nodes that stand apart from the rest.

    Attributes:
        num_apart: how many nodes at the beginning stand in a panel of their own.
        apart: what the panel is called.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    num_apart: int
    apart: str


def graph_of(spec: ArchSpec | ResNetSpec) -> Graph:
    """The graph of a scale-permuted backbone, or of a ResNet with its pyramid."""
    return _permuted(spec) if isinstance(spec, ArchSpec) else _pyramid(spec)


def _permuted(spec: ArchSpec) -> Graph:
    live, extra = live_blocks(spec), spec.unresampled_inputs()
    num_stem = len(spec.stem)
    nodes, edges = [], []
    for i, block in enumerate(spec.all_blocks):
        parents = block.parents if i >= num_stem else (i - 1,) * (i > 0)
        kind: EdgeKind = "plain" if i in live else "dead"
        edges += [Edge(source=parent, target=i, kind=kind) for parent in parents]
        edges += [Edge(source=j, target=i, kind="implicit") for j in extra[i]]
        reads = f", reads {' and '.join(map(str, parents))}" if parents else ""
        adds = f", adds {' and '.join(map(str, extra[i]))} as it is" if extra[i] else ""
        dead = "" if i in live else "; no output depends on it"
        nodes.append(
            Node(
                level=block.level,
                kind=block.block_type,
                label=str(i),
                title=f"block {i}: level {block.level} {block.block_type}{reads}{adds}{dead}",
                output=f"P{block.level}" if block.is_output else "",
                is_dead=i not in live,
            )
        )
    return Graph(nodes=tuple(nodes), edges=tuple(edges), num_apart=num_stem, apart="stem")


def _pyramid(spec: ResNetSpec) -> Graph:
    nodes: list[Node] = []
    edges: list[Edge] = []
    last = {}  # position of the last bottleneck of each level, then of the pyramid's node
    for level, count in zip(RESNET_LEVELS, spec.num_blocks, strict=True):
        for _ in range(count):
            i = len(nodes)
            edges += [Edge(source=i - 1, target=i)] * (i > 0)
            title = f"block {i}: level {level} bottleneck"
            nodes.append(Node(level=level, kind="bottleneck", label=str(i), title=title))
            last[level] = i
    num_apart = len(nodes)
    downwards = list(reversed(LATERAL_LEVELS))
    upwards = [level for level in OUTPUT_LEVELS if level not in LATERAL_LEVELS]
    for level in (*downwards, *upwards):
        i = len(nodes)
        above = level + 1 if level in LATERAL_LEVELS else level - 1
        sources = [last[n] for n in (level, above) if n in last]
        edges += [Edge(source=source, target=i) for source in sources]
        last[level] = i
        name = f"P{level}"
        nodes.append(Node(level=level, kind="pyramid", label="", title=f"pyramid, {name}", output=name))
    return Graph(nodes=tuple(nodes), edges=tuple(edges), num_apart=num_apart, apart=f"ResNet-{spec.depth}")
