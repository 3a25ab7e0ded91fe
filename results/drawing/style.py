"""The style of a picture, for light and dark pages.

Every rule stands below ``.spine``, the class of the picture, so that a page which holds pictures keeps its
own. Plain rules and one media query: what renders SVG outside of browsers knows no variables.
"""

from __future__ import annotations

# By level; reports have them too.
LEVEL_FILLS = {
    1: "#d9c8f0",
    2: "#b9d3f3",
    3: "#9fdfe6",
    4: "#a8dfa0",
    5: "#f3e08c",
    6: "#fbbf7c",
    7: "#f59c94",
}
_STROKES = {
    1: "#6f42a8",
    2: "#2b62b0",
    3: "#0d7f91",
    4: "#2a7d2e",
    5: "#8a6d00",
    6: "#b5560a",
    7: "#b3261e",
}
_COMMON = """
text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;font-size:12px}
.title{font-size:15px;font-weight:600}.level{font-size:13px;font-weight:600}.stride{font-size:10px}
.middle{text-anchor:middle}.id{font-size:13px;font-weight:600}.small{font-size:10px}
.output{font-size:11px;font-weight:700}
.edge{fill:none;stroke-width:1.5}.halo{fill:none;stroke-width:4.5}
.implicit{stroke-dasharray:8 4}.dead{stroke-dasharray:2 3}.halo.implicit,.halo.dead{stroke-dasharray:none}
.block{stroke-width:1.3}.ring{fill:none;stroke-width:1.8}
"""


def style_text(theme: str) -> str:
    """CSS of a picture for a ``light`` or a ``dark`` page, or with ``auto`` for whichever is read."""
    light = _rules("#ffffff", "#1b1f24", "#57606a", "#e2e6ea", "#f3f5f7", "#c0142c", _STROKES)
    dark = _rules("#14181d", "#e8ebee", "#a4adb6", "#2c333a", "#1d2329", "#ff7b86", LEVEL_FILLS)
    if theme == "auto":
        return _scoped(_COMMON + light) + f"@media(prefers-color-scheme:dark){{{_scoped(dark)}}}"
    return _scoped(_COMMON + (dark if theme == "dark" else light))


def _rules(back: str, ink: str, muted: str, row: str, panel: str, ring: str, edges: dict[int, str]) -> str:
    """Colours: of the page, of text, of the level's rows and the panel, of outputs, of edges by level."""
    rules = [
        f".back{{fill:{back}}}text{{fill:{ink}}}.stride,.note{{fill:{muted}}}.id{{fill:#14181d}}",
        f".row{{stroke:{row}}}.panel{{fill:{panel};stroke:{row}}}.halo{{stroke:{back}}}",
        f".ring{{stroke:{ring}}}.output{{fill:{ring}}}",
        f".plain-fill{{fill:{panel};stroke:{muted}}}.edge.grey{{stroke:{muted}}}",
    ]
    for level, fill in LEVEL_FILLS.items():
        rules.append(
            f".block.l{level}{{fill:{fill};stroke:{_STROKES[level]}}}"
            f".edge.l{level}{{stroke:{edges[level]}}}.head.l{level}{{fill:{edges[level]}}}"
        )
    # A dead block is an outline.
    rules.append(f".block.dead{{fill:{back};stroke:{muted}}}.block.dead~.id{{fill:{muted}}}")
    return "\n".join(rules)


def _scoped(rules: str) -> str:
    """The rules, each selector below ``.spine``."""
    scoped = []
    for rule in filter(None, rules.replace("\n", "").split("}")):
        selectors, _, body = rule.partition("{")
        scoped.append(",".join(f".spine {one}" for one in selectors.split(",")) + f"{{{body}}}")
    return "\n".join(scoped)
