"""A drawing of this package as pixels, for what shows no SVG: TensorBoard.

It reads the few elements and rules that `draw_architecture` writes, and no other SVG.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple
from xml.etree import ElementTree

from PIL import Image, ImageDraw, ImageFont

from spinesearch.results.drawing.routes import Curve, Point

_OVERSAMPLING = 3  # pixels drawn for one pixel's side, which smooths edges
_NAMESPACE = "{http://www.w3.org/2000/svg}"


class _Rule(NamedTuple):
    """One selector: an element's name, the classes it must have, and what then holds."""

    tag: str
    classes: frozenset[str]
    properties: dict[str, str]


def draw_pixels(svg: str) -> Image.Image:
    """An RGB image of a drawing in a ``light`` or ``dark`` theme, in the size that the drawing names."""
    root = ElementTree.fromstring(svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    size = (math.ceil(_OVERSAMPLING * width), math.ceil(_OVERSAMPLING * height))
    image = Image.new("RGB", size, "white")
    pen = _Pen(ImageDraw.Draw(image), _rules(root.findtext(f"{_NAMESPACE}style") or ""))
    for element, offset in _placed(root, Point(0.0, 0.0)):
        pen.draw(element, offset)
    return image.resize((math.ceil(width), math.ceil(height)), Image.Resampling.LANCZOS)


def _rules(text: str) -> list[_Rule]:
    """Rules by rising precedence, as the style has them; those that look at neighbours are left out."""
    rules = []
    for rule in filter(str.strip, text.split("}")):
        selectors, _, body = rule.partition("{")
        properties = dict(item.split(":", 1) for item in body.split(";"))
        for selector in selectors.split(","):
            tag, *classes = selector.strip().removeprefix(".spine ").split(".")
            if "~" not in selector:
                rules.append(_Rule(tag, frozenset(classes), properties))
    return rules


def _placed(parent: ElementTree.Element, offset: Point) -> Iterator[tuple[ElementTree.Element, Point]]:
    """Every drawn element with the sum of the translations above it."""
    for element in parent:
        if element.tag == f"{_NAMESPACE}g":
            moved = element.get("transform", "translate(0 0)")[len("translate(") : -1].split()
            yield from _placed(element, Point(offset.x + float(moved[0]), offset.y + float(moved[1])))
        else:
            yield element, offset


class _Pen:
    """Draws elements in their style.

    Args:
        draw: onto what.
        rules: of the style.
    """

    def __init__(self, draw: ImageDraw.ImageDraw, rules: Sequence[_Rule]) -> None:
        self._draw = draw
        self._rules = rules

    def draw(self, element: ElementTree.Element, offset: Point) -> None:
        """Draw one element."""
        tag = element.tag.removeprefix(_NAMESPACE)
        style = self._style(tag, set(element.get("class", "").split()))

        def number(name: str) -> float:
            return float(element.get(name, "0"))

        def place(x: float, y: float) -> Point:
            return Point(_OVERSAMPLING * (x + offset.x), _OVERSAMPLING * (y + offset.y))

        match tag:
            case "rect":
                left, top = number("x"), number("y")
                box = (*place(left, top), *place(left + number("width"), top + number("height")))
                radius = _OVERSAMPLING * number("rx")
                self._draw.rounded_rectangle(box, radius, fill=style.get("fill"), outline=style.get("stroke"))
            case "line":
                ends = (place(number("x1"), number("y1")), place(number("x2"), number("y2")))
                self._stroke(ends, style)
            case "path":
                numbers = [float(part) for part in element.attrib["d"][1:].replace("C", " ").split()]
                curve = Curve(*(place(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)))
                self._stroke(curve.samples(), style)
            case "polygon":
                pairs = (pair.split(",") for pair in element.attrib["points"].split())
                self._fill([place(float(x), float(y)) for x, y in pairs], style)
            case "circle":
                angles = (math.tau * i / 48 for i in range(48))
                x, y, r = number("cx"), number("cy"), number("r")
                self._fill([place(x + r * math.cos(a), y + r * math.sin(a)) for a in angles], style)
            case "text":
                size = _OVERSAMPLING * float(style["font-size"].removesuffix("px"))
                anchor = "ms" if style.get("text-anchor") == "middle" else "ls"
                font = ImageFont.load_default(size)
                self._draw.text(
                    place(number("x"), number("y")), element.text or "", style["fill"], font, anchor
                )

    def _style(self, tag: str, classes: set[str]) -> dict[str, str]:
        style: dict[str, str] = {}
        for rule in self._rules:
            if rule.tag in ("", tag) and rule.classes <= classes:
                style |= rule.properties
        return style

    def _fill(self, corners: Sequence[Point], style: dict[str, str]) -> None:
        if style.get("fill", "none") != "none":
            self._draw.polygon(corners, fill=style["fill"])
        self._stroke([*corners, corners[0]], style)

    def _stroke(self, points: Sequence[Point], style: dict[str, str]) -> None:
        if "stroke" not in style:
            return
        width = round(_OVERSAMPLING * float(style.get("stroke-width", "1")))
        dashes = style.get("stroke-dasharray", "none")
        parts: Iterable[Sequence[Point]] = [points]
        if dashes != "none":
            on, off = (_OVERSAMPLING * float(length) for length in dashes.split())
            parts = _dashed(points, on, off)
        for part in parts:
            self._draw.line(list(part), fill=style["stroke"], width=width, joint="curve")


def _dashed(points: Sequence[Point], on: float, off: float) -> Iterator[tuple[Point, Point]]:
    """The pieces of a line of straight parts that dashes of these lengths leave."""
    walked = 0.0
    for start, end in pairwise(points):
        length = math.dist(start, end)
        done = 0.0
        while done < length:
            phase = (walked + done) % (on + off)
            step = min(length - done, (on if phase < on else on + off) - phase) or length
            if phase < on:
                yield _between(start, end, done / length), _between(start, end, (done + step) / length)
            done += step
        walked += length


def _between(start: Point, end: Point, t: float) -> Point:
    return Point(start.x + t * (end.x - start.x), start.y + t * (end.y - start.y))
