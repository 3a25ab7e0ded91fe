"""`draw_architecture`: a network as an SVG picture in the manner of the SpineNet paper's figure 4.

Blocks stand from left to right in their order and from fine levels to coarse ones downwards. Shapes tell
types, double outlines outputs, dashes what is implicit or dead: colours only repeat what levels show, so that
a print without them says the same. The picture carries its style, follows the reader's light or dark scheme,
and has no ids, so that a page may hold many.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal
from xml.etree import ElementTree

from spinesearch.results.drawing.graph import Edge, Graph, Node, graph_of
from spinesearch.results.drawing.layout import Layout, lay_out
from spinesearch.results.drawing.routes import ASPECT, RING, Curve, Point
from spinesearch.results.drawing.style import style_text
from spinesearch.space.arch.resnet import ResNetSpec
from spinesearch.space.arch.spec import ArchSpec

Theme = Literal["auto", "light", "dark"]
_TITLE_HEIGHT, _LEGEND_HEIGHT = 34.0, 40.0
_LEAST_WIDTH = 640.0  # for the legend
_HEAD = 7.0  # length of an arrow's head
_SHAPE_NAMES = {
    "bottleneck": "bottleneck",
    "residual": "residual",
    "mbconv": "MBConv",
    "pyramid": "pyramid",
}


def draw_architecture(spec: ArchSpec | ResNetSpec, *, title: str = "", theme: Theme = "auto") -> str:
    """An SVG document of one network.

    Args:
        spec: the architecture.
        title: heading; by default the spec's name.
        theme: ``light``, ``dark``, or ``auto`` for the reader's.
    """
    return draw_architectures([(spec, title or spec.name or "architecture")], theme=theme)


def draw_architectures(
    pictures: Sequence[tuple[ArchSpec | ResNetSpec, str]], *, theme: Theme = "auto"
) -> str:
    """An SVG document of several networks with their headings, one below the other, columns aligned."""
    drawn = [(graph, lay_out(graph), title) for graph, title in ((graph_of(s), t) for s, t in pictures)]
    width = max(_LEAST_WIDTH, *(layout.width for _, layout, _ in drawn))
    root = ElementTree.Element("svg")
    _add(root, "title").text = " and ".join(title for _, _, title in drawn)
    _add(root, "style").text = style_text(theme)
    background = _add(root, "rect", "back")
    top = 0.0
    for graph, layout, title in drawn:
        group = _add(root, "g", transform=f"translate(0 {_number(top)})")
        _text(group, Point(16, 26), title, "title")
        _draw(_add(group, "g", transform=f"translate(0 {_number(_TITLE_HEIGHT)})"), graph, layout, width)
        top += _TITLE_HEIGHT + layout.height
    legend = _add(root, "g", transform=f"translate(16 {_number(top + _LEGEND_HEIGHT / 2)})")
    _draw_legend(legend, [graph for graph, _, _ in drawn])
    size = {"width": _number(width), "height": _number(top + _LEGEND_HEIGHT)}
    for element in (root, background):
        element.attrib.update(size)
    root.attrib.update(
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {size['width']} {size['height']}",
        role="img",
    )
    root.set("class", "spine")
    return ElementTree.tostring(root, encoding="unicode") + "\n"


# Parts of a picture ----------


def _draw(parent: ElementTree.Element, graph: Graph, layout: Layout, width: float) -> None:
    for level, y in layout.rows.items():
        _line(parent, Point(56, y), Point(width - 14, y), "row")
        _text(parent, Point(16, y + 1), f"L{level}", "level")
        _text(parent, Point(16, y + 14), f"1/{2**level}", "stride")
    left, top, panel_width, height = layout.panel
    size = {"x": left, "y": top, "width": panel_width, "height": height, "rx": 8.0}
    _add(parent, "rect", "panel", **{name: _number(value) for name, value in size.items()})
    _text(parent, Point(left + panel_width / 2, top + height - 9), graph.apart, "note middle")
    for edge, curve in zip(graph.edges, layout.curves, strict=True):
        _draw_edge(parent, edge, curve, graph.nodes[edge.source].level)
    for node, center in zip(graph.nodes, layout.centers, strict=True):
        _draw_node(parent, node, center, layout.side)


def _draw_edge(parent: ElementTree.Element, edge: Edge, curve: Curve, level: int) -> None:
    ends = [f"{_number(p.x)} {_number(p.y)}" for p in curve]
    path = f"M{ends[0]}C{ends[1]} {ends[2]} {ends[3]}"
    _add(parent, "path", f"halo {edge.kind}", d=path)
    _add(parent, "path", f"edge {edge.kind} l{level}", d=path)
    # Its head points the way that the curve's last pixels go.
    before = next(p for p in reversed(curve.samples()) if math.dist(p, curve.end) >= _HEAD)
    _arrow(parent, curve.end, math.atan2(curve.end.y - before.y, curve.end.x - before.x), f"head l{level}")


def _arrow(parent: ElementTree.Element, tip: Point, angle: float, style: str) -> None:
    wings = [
        Point(tip.x - _HEAD * math.cos(angle + a), tip.y - _HEAD * math.sin(angle + a)) for a in (-0.42, 0.42)
    ]
    _polygon(parent, [tip, *wings], style)


def _draw_node(parent: ElementTree.Element, node: Node, center: Point, side: float) -> None:
    group = _add(parent, "g")
    _add(group, "title").text = node.title
    if node.output:
        _shape(group, node.kind, center, side + 2 * RING, "ring")
        _text(group, Point(center.x, center.y - side / 2 - 9), node.output, "output middle")
    _shape(group, node.kind, center, side, "block dead" if node.is_dead else f"block l{node.level}")
    size = "id small" if side < 24 else "id"
    _text(group, Point(center.x, center.y + (3.5 if side < 24 else 4.5)), node.label, f"{size} middle")


def _shape(parent: ElementTree.Element, kind: str, center: Point, side: float, style: str) -> None:
    """Rectangle: bottleneck; diamond: residual block; hexagon: MBConv; circle: a pyramid's convolutions."""
    x, y = center
    half = side / 2
    if kind == "pyramid":
        _add(parent, "circle", style, cx=_number(x), cy=_number(y), r=_number(0.8 * half))
        return
    tall = ASPECT * half
    match kind:
        case "residual":
            corners = [(x - half, y), (x, y - half), (x + half, y), (x, y + half)]
        case "mbconv":
            inner = 0.55 * half
            corners = [(x - half, y), (x - inner, y - tall), (x + inner, y - tall)]
            corners += [(x + half, y), (x + inner, y + tall), (x - inner, y + tall)]
        case _:
            corners = [(x - half, y - tall), (x + half, y - tall), (x + half, y + tall), (x - half, y + tall)]
    _polygon(parent, [Point(*corner) for corner in corners], style)


def _draw_legend(parent: ElementTree.Element, graphs: Sequence[Graph]) -> None:
    nodes = [node for graph in graphs for node in graph.nodes]
    kinds = {edge.kind for graph in graphs for edge in graph.edges}
    x = 8.0
    for kind, name in _SHAPE_NAMES.items():
        if any(node.kind == kind for node in nodes):
            _shape(parent, kind, Point(x, 0), 16, "block plain-fill")
            x = _legend_text(parent, x + 14, name)
    x += 4
    _shape(parent, "bottleneck", Point(x, 0), 20, "ring")
    _shape(parent, "bottleneck", Point(x, 0), 13, "block plain-fill")
    x = _legend_text(parent, x + 17, "output")
    lines = (("implicit", "added as it is"), ("dead", "no output depends on it"))
    for style, name in lines:
        if style in kinds:
            _line(parent, Point(x - 6, 0), Point(x + 28, 0), f"edge {style} grey")
            x = _legend_text(parent, x + 34, name)


def _legend_text(parent: ElementTree.Element, x: float, text: str) -> float:
    """Write a name; returns where the next entry begins."""
    _text(parent, Point(x, 4), text, "note")
    return x + 6.8 * len(text) + 26


# Elements ----------


def _add(parent: ElementTree.Element, tag: str, style: str = "", **attributes: str) -> ElementTree.Element:
    return ElementTree.SubElement(parent, tag, ({"class": style} if style else {}) | attributes)


def _line(parent: ElementTree.Element, start: Point, end: Point, style: str) -> None:
    places = {"x1": start.x, "y1": start.y, "x2": end.x, "y2": end.y}
    _add(parent, "line", style, **{name: _number(value) for name, value in places.items()})


def _polygon(parent: ElementTree.Element, corners: Sequence[Point], style: str) -> None:
    _add(parent, "polygon", style, points=" ".join(f"{_number(p.x)},{_number(p.y)}" for p in corners))


def _text(parent: ElementTree.Element, place: Point, text: str, style: str) -> None:
    _add(parent, "text", style, x=_number(place.x), y=_number(place.y)).text = text


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
