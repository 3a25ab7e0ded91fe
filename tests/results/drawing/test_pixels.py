"""Drawings as pixels: colours stand where the drawing puts them, in both themes."""

import numpy as np
import pytest
from PIL import ImageColor

from spinesearch.results.drawing.architecture import draw_architecture
from spinesearch.results.drawing.graph import graph_of
from spinesearch.results.drawing.layout import lay_out
from spinesearch.results.drawing.pixels import draw_pixels
from spinesearch.space import PUBLISHED, SPINENET_49

TITLE_HEIGHT = 34  # of `draw_architecture`, above the layout


@pytest.mark.parametrize(("theme", "back"), [("light", "#ffffff"), ("dark", "#14181d")])
def test_blocks_rings_and_background(theme, back):
    svg = draw_architecture(SPINENET_49, theme=theme)
    image = np.asarray(draw_pixels(svg)).astype(int)
    graph = graph_of(SPINENET_49)
    layout = lay_out(graph)
    assert image.shape == (round(layout.height) + TITLE_HEIGHT + 40, round(layout.width), 3)
    assert image[2, 2].tolist() == list(ImageColor.getrgb(back))
    fills = {2: "#b9d3f3", 3: "#9fdfe6", 4: "#a8dfa0", 5: "#f3e08c", 6: "#fbbf7c", 7: "#f59c94"}
    for node, (x, y) in zip(graph.nodes, layout.centers, strict=True):
        below = image[round(y + TITLE_HEIGHT + 9), round(x)]  # inside of every shape, clear of the number
        assert np.abs(below - ImageColor.getrgb(fills[node.level])).max() <= 6, node


def test_dashes_leave_gaps():
    svg = draw_architecture(SPINENET_49, theme="light")
    curve = next(
        c
        for e, c in zip(graph_of(SPINENET_49).edges, lay_out(graph_of(SPINENET_49)).curves, strict=True)
        if e.kind == "implicit"
    )
    image = np.asarray(draw_pixels(svg)).astype(int)
    points = curve.samples()[4:-6]
    dark = [image[round(y + TITLE_HEIGHT), round(x)].sum() < 600 for x, y in points]
    assert any(dark)
    assert not all(dark)


def test_pyramids_are_drawn_too():
    assert draw_pixels(draw_architecture(PUBLISHED["resnet50_fpn"].arch, theme="light")).size[0] > 1000
