"""Curves for the edges of a picture: of several ways around the blocks, the clearest."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from spinesearch.results.drawing.graph import Edge, Graph

RING = 4.5  # pixels between a block and the outline that marks it as an output
ASPECT = 0.82  # height of a block that is no diamond, in widths
_PORT = 0.2  # where the edges into a block end, in its widths above and below its middle
_BOWS = (0.0, 0.35, -0.35, 0.7, -0.7, 1.1, -1.1, 1.6, -1.6)  # in rows; how far an edge may bend aside
_HANDLES = ((0.45, 0.45), (0.3, 0.65), (0.65, 0.3))  # of its ends, in its widths
_STEEP_HANDLES = ((0.9, 0.9),)  # between neighbouring columns
_BOW_COST = 0.25  # of a row's bow, where meeting a block costs 1
_DETOUR_COST = 0.6  # of each length of the straight line that it is longer
_TURN_COST = 0.2  # of an end from above or below
_CROWD_COST = 0.05  # of a cell in which another edge is
_NUM_SAMPLES = 24  # points of an edge at which it is looked at
_CELL = 7.0  # side of the cells in which edges that run close together meet, in pixels
_CLEARANCE = 5.0  # kept from blocks that an edge passes, in pixels


class Point(NamedTuple):
    """A place in a picture, in pixels."""

    x: float
    y: float


class Curve(NamedTuple):
    """A cubic Bezier curve: its ends and its two control points."""

    start: Point
    first: Point
    second: Point
    end: Point

    def samples(self) -> list[Point]:
        """Points along it, both ends included."""
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = self
        return [
            Point(a * x0 + b * x1 + c * x2 + d * x3, a * y0 + b * y1 + c * y2 + d * y3)
            for a, b, c, d in _WEIGHTS
        ]


def _weights(t: float) -> tuple[float, float, float, float]:
    return (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3


_WEIGHTS = [_weights(i / _NUM_SAMPLES) for i in range(_NUM_SAMPLES + 1)]


def route(graph: Graph, centers: Sequence[Point], *, side: float, row: float, height: float) -> list[Curve]:
    """A curve for every edge, which meets as few blocks and other edges as can be.

    Short edges choose first, since they have the fewest ways.

    Args:
        graph: whose edges they are.
        centers: of its nodes.
        side: width of a node.
        row: height of a level's row.
        height: of the picture, which no curve should leave.
    """
    ports = _ports(graph.edges, centers)
    used: set[tuple[int, int]] = set()
    curves: dict[int, Curve] = {}
    for k in sorted(range(len(ports)), key=lambda k: graph.edges[k].target - graph.edges[k].source):
        edge = graph.edges[k]
        passed = centers[edge.source + 1 : edge.target]
        best, least = None, float("inf")
        for cost, curve in _ways(graph, edge, centers, ports[k], side, row):
            if cost >= least:
                break  # they come by rising cost of their own
            points = curve.samples()
            cost += _num_met(points, passed, side / 2 + _CLEARANCE) + sum(
                not 0.0 <= p.y <= height for p in points
            )
            cost += _CROWD_COST * len(_cells(points) & used) + _DETOUR_COST * _detour(points)
            if cost < least:
                best, least = curve, cost
        assert best is not None
        curves[k] = best
        used |= _cells(best.samples())
    return [curves[k] for k in range(len(ports))]


def _ports(edges: Sequence[Edge], centers: Sequence[Point]) -> list[float]:
    """Where each edge ends on its target, from -1, at the upper one, to 1: in the order of the sources."""
    ports = [0.0] * len(edges)
    for target in {edge.target for edge in edges}:
        into = [k for k, edge in enumerate(edges) if edge.target == target]
        into.sort(key=lambda k: (centers[edges[k].source].y, edges[k].source))
        for place, k in enumerate(into):
            ports[k] = 2.0 * place / (len(into) - 1) - 1.0 if len(into) > 1 else 0.0
    return ports


def _ways(
    graph: Graph, edge: Edge, centers: Sequence[Point], port: float, side: float, row: float
) -> Iterator[tuple[float, Curve]]:
    """Curves of an edge, and what each costs by its form alone, cheapest first."""
    node, center = graph.nodes[edge.target], centers[edge.target]
    ring = RING if node.output else 0.0
    is_diamond = node.kind == "residual"
    start = Point(centers[edge.source].x + side / 2, centers[edge.source].y)
    height = _PORT * side * port
    end = Point(center.x - side / 2 - ring + (abs(height) if is_diamond else 0.0), center.y + height)
    width = end.x - start.x
    ways = []
    for bow in _BOWS:
        shift = bow * row * 4 / 3  # a curve reaches three quarters of what its control points do
        short = min(0.45, 1.8 * side / width)  # soon out of the way of the next block
        for lead, tail in _STEEP_HANDLES if width < side else (*_HANDLES, (short, short)):
            first = Point(start.x + lead * width, start.y + shift)
            ways.append(
                (_BOW_COST * abs(bow), Curve(start, first, Point(end.x - tail * width, end.y + shift), end))
            )
    half = side / 2 * (1.0 if is_diamond else ASPECT) + ring
    sign = 1 if start.y > center.y else -1
    if start.y != center.y and (sign == 1 or not node.output):  # above an output stands its name
        foot = Point(center.x + 0.25 * side * port * (not is_diamond), center.y + sign * half)
        for reach in (0.5, 1.2):
            for lead in (0.3, 0.8):
                first = Point(start.x + lead * (foot.x - start.x), start.y)
                cost = _TURN_COST + 0.1 * reach
                ways.append((cost, Curve(start, first, Point(foot.x, foot.y + sign * reach * row), foot)))
    return iter(sorted(ways, key=lambda way: way[0]))


def _num_met(points: Sequence[Point], centers: Sequence[Point], reach: float) -> int:
    return sum(any(abs(p.x - x) < reach and abs(p.y - y) < reach for p in points) for x, y in centers)


def _detour(points: Sequence[Point]) -> float:
    """How much longer a curve is than the straight line between its ends, in lengths of that."""
    return sum(math.dist(*pair) for pair in pairwise(points)) / math.dist(points[0], points[-1]) - 1.0


def _cells(points: Sequence[Point]) -> set[tuple[int, int]]:
    # At their ends edges do meet.
    return {(round(p.x / _CELL), round(p.y / _CELL)) for p in points[2:-2]}
