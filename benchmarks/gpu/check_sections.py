"""The sections of the GPU check, in order: a module each, imported by the process that runs it alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A section.

    Attributes:
        name: for ``--only``.
        title: in the report.
        weight: its share of the time, against those of the sections after it.
        module: where it is.
        function: in that module; called with (quick, emit).
    """

    name: str
    title: str
    weight: float
    module: str
    function: str = "run"


SECTIONS = (
    Section(name="machine", title="The machine", weight=30, module="sections.machine"),
    Section(name="tests", title="Tests marked `gpu`", weight=140, module="sections.marked_tests"),
    Section(
        name="paper",
        title="The proxy task at `paper`",
        weight=115,
        module="sections.proxy",
        function="run_paper",
    ),
    Section(
        name="small",
        title="The proxy task at `small`",
        weight=45,
        module="sections.proxy",
        function="run_small",
    ),
    Section(name="host", title="What feeds the step, before and after", weight=100, module="sections.host"),
    Section(name="shared", title="Several candidates on one GPU", weight=95, module="sections.shared"),
    Section(name="backbone", title="SpineNet-49 against a plain port", weight=45, module="sections.backbone"),
    Section(name="fused", title="Fused forms against plain ones", weight=45, module="sections.fused"),
    Section(name="loss", title="Loss and gradients against the CPU", weight=35, module="sections.loss"),
    Section(name="search", title="A search of four candidates", weight=35, module="sections.search"),
    Section(name="evaluation", title="Evaluation", weight=35, module="sections.evaluation"),
)
NAMES = tuple(section.name for section in SECTIONS)


def time_limit(left_s: float, sections: Sequence[Section]) -> float:
    """Seconds for the first of these sections: its share of what is left, so that saved time is passed on."""
    return max(0.0, left_s) * sections[0].weight / sum(section.weight for section in sections)
