"""A part of a page that a command writes: `replace_marked`."""

from __future__ import annotations

from pathlib import Path

from spinesearch.data.whole_file import write_whole


def replace_marked(page: Path, name: str, text: str) -> None:
    """Put text between a page's lines ``<!-- NAME: begin ... -->`` and ``<!-- NAME: end -->``.

    Raises:
        ValueError: the page has no such pair of lines.
    """
    lines = page.read_text(encoding="utf-8").splitlines()
    begins = [i for i, line in enumerate(lines) if line.startswith(f"<!-- {name}: begin")]
    ends = [i for i, line in enumerate(lines) if line.startswith(f"<!-- {name}: end")]
    if len(begins) != 1 or len(ends) != 1 or begins[0] > ends[0]:
        raise ValueError(f"{page}: needs one line '<!-- {name}: begin -->' and one '<!-- {name}: end -->'")
    lines[begins[0] + 1 : ends[0]] = text.rstrip("\n").split("\n")
    write_whole(page, "\n".join(lines) + "\n")


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown; the first column is text, the others are numbers."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))
