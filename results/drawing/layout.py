"""Where everything stands in a picture: nodes on a grid of order and level, edges around the nodes.

Lengths are in pixels, x to the right in the order of the blocks, y down, from fine levels to coarse ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from spinesearch.results.drawing.graph import Graph
from spinesearch.results.drawing.routes import Curve, Point, route

_FEW = 20  # nodes, up to which a column has its full width
_PITCH, _LEAST_PITCH = 54.0, 30.0  # width of a column
_SIDE = 0.62  # width of a node, in columns
_GAP = 0.7  # between the panel and the rest, in columns
_ROW = 62.0  # height of a row
_LEFT, _TOP, _RIGHT, _BELOW = 62.0, 30.0, 26.0, 14.0  # margins; the levels' names stand on the left


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """A laid-out graph.

    Attributes:
        width: of everything.
        height: of everything.
        rows: y of each level's row.
        centers: of the nodes.
        side: width of a node.
        curves: of the edges, in their order.
        panel: left, top, width and height of the panel of the nodes that stand apart.
    """

    width: float
    height: float
    rows: dict[int, float]
    centers: tuple[Point, ...]
    side: float
    curves: tuple[Curve, ...]
    panel: tuple[float, float, float, float]


def lay_out(graph: Graph) -> Layout:
    """The layout of a graph; the same one always."""
    count = len(graph.nodes)
    pitch = max(_LEAST_PITCH, _PITCH * min(1.0, _FEW / count))
    side, gap = _SIDE * pitch, _GAP * pitch
    levels = [node.level for node in graph.nodes]
    rows = {level: _TOP + (i + 0.5) * _ROW for i, level in enumerate(range(min(levels), max(levels) + 1))}
    height = _TOP + len(rows) * _ROW
    centers = tuple(
        Point(_LEFT + (i + 0.5) * pitch + gap * (i >= graph.num_apart), rows[node.level])
        for i, node in enumerate(graph.nodes)
    )
    curves = route(graph, centers, side=side, row=_ROW, height=height + _BELOW)
    return Layout(
        width=_LEFT + count * pitch + gap + _RIGHT,
        height=height + _BELOW,
        rows=rows,
        centers=centers,
        side=side,
        curves=tuple(curves),
        panel=(_LEFT, _TOP, graph.num_apart * pitch, height - _TOP),
    )
