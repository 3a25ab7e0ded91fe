"""Drawings: all that a spec says is in them, nothing runs through a block, and colours are not needed."""

import itertools
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from spinesearch.results.drawing.architecture import draw_architecture, draw_architectures
from spinesearch.results.drawing.graph import graph_of
from spinesearch.results.drawing.layout import lay_out
from spinesearch.results.drawing.style import style_text
from spinesearch.space import PUBLISHED, SPINENET_49, ArchSpec, SpineNetSpace
from spinesearch.space.arch.identity import live_blocks

DOCS = Path(__file__).parents[3] / "docs"
LARGE = SpineNetSpace(base_levels={2: 5, 3: 10, 4: 20, 5: 15})
SPECS = [
    *{model.arch: model.arch for model in PUBLISHED.values()},
    *(SpineNetSpace().decode(SpineNetSpace().sample(np.random.default_rng(seed))) for seed in range(8)),
    LARGE.decode(LARGE.sample(np.random.default_rng(0))),
]


def elements(svg: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(svg).iter())


def classes(svg: str, tag: str) -> list[set[str]]:
    return [set(e.get("class", "").split()) for e in elements(svg) if e.tag.rpartition("}")[2] == tag]


@pytest.mark.parametrize("spec", SPECS, ids=range(len(SPECS)))
def test_every_block_and_every_connection_is_drawn_once(spec):
    svg = draw_architecture(spec)
    graph = graph_of(spec)
    edges = [found for found in classes(svg, "path") if "edge" in found]
    assert len(edges) == len(graph.edges)
    assert sum("implicit" in found for found in edges) == sum(e.kind == "implicit" for e in graph.edges)
    titles = [e.text for e in elements(svg) if e.tag.endswith("title")]
    assert [node.title for node in graph.nodes] == titles[1:]
    assert " id=" not in svg  # a page may hold many
    if isinstance(spec, ArchSpec):
        assert len(graph.nodes) == len(spec)
        assert [i for i, node in enumerate(graph.nodes) if not node.is_dead] == sorted(live_blocks(spec))
        reads = [(e.source, e.target) for e in graph.edges if e.kind != "implicit"]
        assert len(reads) == len(spec.stem) - 1 + 2 * len(spec.blocks)
        assert {target for _, target in reads} == set(range(1, len(spec)))
        added = {(e.source, e.target) for e in graph.edges if e.kind == "implicit"}
        assert added == {(j, i) for i, ids in enumerate(spec.unresampled_inputs()) for j in ids}
    assert sorted(node.output for node in graph.nodes if node.output) == ["P3", "P4", "P5", "P6", "P7"]


@pytest.mark.parametrize("spec", SPECS, ids=range(len(SPECS)))
def test_places_follow_order_and_level_and_leave_room(spec):
    graph = graph_of(spec)
    layout = lay_out(graph)
    assert layout == lay_out(graph)
    xs = [center.x for center in layout.centers]
    assert min(b - a for a, b in itertools.pairwise(xs)) >= layout.side + 10
    for (node, center), (other, place) in itertools.combinations(
        zip(graph.nodes, layout.centers, strict=True), 2
    ):
        assert (node.level < other.level) == (center.y < place.y)
    for edge, curve in zip(graph.edges, layout.curves, strict=True):
        assert curve.start.x == layout.centers[edge.source].x + layout.side / 2
        assert abs(curve.end.x - layout.centers[edge.target].x) <= layout.side / 2 + 5
        assert all(0 <= point.x <= layout.width for point in curve.samples())
    # Two digits of the smaller of the two sizes of type fit a block.
    assert layout.side >= 18


@pytest.mark.parametrize("name", ["spinenet49", "spinenet_mobile49", "r0_sp53"])
def test_no_connection_runs_through_a_block(name: str):
    graph = graph_of(PUBLISHED[name].arch)
    layout = lay_out(graph)
    for edge, curve in zip(graph.edges, layout.curves, strict=True):
        for center in layout.centers[edge.source + 1 : edge.target]:
            for x, y in curve.samples():
                assert abs(x - center.x) > layout.side / 2 or abs(y - center.y) > layout.side / 2, edge


def test_what_is_dashed():
    spec = ArchSpec.from_tuples(
        [(4, "residual", (0, 1), False), *((n, "bottleneck", (0, 1), True) for n in (3, 4, 5, 6, 7))]
    )
    svg = draw_architecture(spec)
    assert sum({"edge", "dead"} <= found for found in classes(svg, "path")) == 2
    assert sum({"block", "dead"} <= found for found in classes(svg, "polygon")) == 1
    assert "no output depends on it" in svg
    assert "added as it is" not in svg
    assert (
        sum({"edge", "implicit"} <= found for found in classes(draw_architecture(SPINENET_49), "path")) == 1
    )
    for kind in ("implicit", "dead"):
        assert re.search(rf"\.spine \.{kind}\{{stroke-dasharray:\d+ \d+\}}", style_text("light"))


def test_text_is_escaped_and_rules_stay_in_the_picture():
    svg = draw_architecture(SPINENET_49, title="<script>&\"'")
    assert "<script>" not in svg
    assert "&lt;script&gt;&amp;" in svg
    for theme in ("auto", "light", "dark"):
        rules = re.findall(
            r"([^{}]+)\{[^{}]*\}", style_text(theme).replace("@media(prefers-color-scheme:dark){", "")
        )
        assert rules
        assert all(one.strip().startswith(".spine ") for rule in rules for one in rule.split(","))
    assert "prefers-color-scheme:dark" in style_text("auto")
    assert "prefers-color-scheme" not in style_text("light") + style_text("dark")


def luminance(colour: str) -> float:
    """WCAG 2's relative luminance of #rrggbb."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_lines_stand_out(theme: str):
    """WCAG 2.1: 4.5 for text, 3 for lines that carry meaning."""
    style = style_text(theme)

    def colour(selector: str, name: str) -> str:
        found = re.findall(rf"\.spine {re.escape(selector)}(?:,[^{{]*)?\{{[^}}]*{name}:(#\w+)", style)
        return found[-1]

    back = colour(".back", "fill")
    assert contrast(colour("text", "fill"), back) > 7
    assert contrast(colour(".stride", "fill"), back) > 4.5
    assert contrast(colour(".output", "fill"), back) > 4.5
    for level in range(1, 8):
        assert contrast(colour(".id", "fill"), colour(f".block.l{level}", "fill")) > 4.5
        assert contrast(colour(f".edge.l{level}", "stroke"), back) > 3


def test_two_pictures_have_one_legend_and_aligned_columns():
    svg = draw_architectures([(SPINENET_49, "a"), (PUBLISHED["resnet50_fpn"].arch, "b")])
    texts = [e.text for e in elements(svg) if e.tag.endswith("text")]
    assert texts.count("a") == texts.count("b") == texts.count("bottleneck") == 1
    assert {"residual", "pyramid", "output"} <= set(texts)


def test_the_pictures_of_the_docs_are_current():
    shown = re.findall(r"\(images/(\w+)\.svg\)", (DOCS / "models.md").read_text())
    assert {PUBLISHED[name].arch for name in shown} == {model.arch for model in PUBLISHED.values()}
    for name in shown:
        drawn = draw_architecture(PUBLISHED[name].arch, title=name)
        assert (DOCS / "images" / f"{name}.svg").read_text() == drawn, (
            f"docs/images/{name}.svg: run spinesearch spec draw {name} --output docs/images"
        )
