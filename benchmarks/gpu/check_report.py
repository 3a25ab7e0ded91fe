"""The report of the GPU check: one Markdown and one JSON file, rewritten whenever something is known."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from check_sections import Section

STEM = "gpu-check"


@dataclass(slots=True)
class Outcome:
    """The state of a section.

    Attributes:
        section: which.
        status: ``waiting``, ``running``, ``passed``, ``failed``, ``not run``, ``out of time`` or, where all
            that it had found by then is well, ``cut short``.
        seconds: that it took.
        limit_s: that it was allowed.
        reason: why it did not pass, in one line.
        parts: what it found so far, as `check_parts.Part` has it.
        last_lines: of what it printed, if it did not pass.
    """

    section: Section
    status: str = "waiting"
    seconds: float = 0.0
    limit_s: float = 0.0
    reason: str = ""
    parts: list[dict[str, Any]] = field(default_factory=list)
    last_lines: list[str] = field(default_factory=list)


def write_report(folder: Path, header: dict[str, str], outcomes: Sequence[Outcome]) -> None:
    """Replace both files by the state of things; neither is ever seen half written.

    Args:
        folder: where they go.
        header: what, when and by which command, by name.
        outcomes: of all sections, in order.
    """
    sections = {
        outcome.section.name: {
            "status": outcome.status,
            "seconds": round(outcome.seconds, 1),
            "limit_s": round(outcome.limit_s, 1),
            "reason": outcome.reason,
            "parts": [{"title": part["title"], **part["values"]} for part in outcome.parts],
            "last_lines": outcome.last_lines,
        }
        for outcome in outcomes
    }
    _replace(folder / f"{STEM}.json", json.dumps({**header, "sections": sections}, indent=1) + "\n")
    _replace(folder / f"{STEM}.md", "\n".join(_page(header, outcomes)) + "\n")


def _page(header: dict[str, str], outcomes: Sequence[Outcome]) -> list[str]:
    lines = ["# GPU check", "", *(f"{name}: {text}  " for name, text in header.items()), ""]
    lines += ["| section | outcome | s | of at most |", "|---|---|---|---|"]
    for outcome in outcomes:
        status = f"{outcome.status}: {outcome.reason}" if outcome.reason else outcome.status
        cells = (outcome.section.title, status, f"{outcome.seconds:.0f}", f"{outcome.limit_s:.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    for outcome in outcomes:
        if not (outcome.parts or outcome.last_lines):
            continue
        lines += ["", f"## {outcome.section.title}"]
        for part in outcome.parts:
            lines += ["", f"**{part['title']}**"] if part["title"] else []
            lines += ["", *part["lines"]]
        if outcome.last_lines:
            lines += ["", "The last lines it printed:", "", "```", *outcome.last_lines, "```"]
    return lines


def _replace(path: Path, text: str) -> None:
    partial = path.with_suffix(f"{path.suffix}.part")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
