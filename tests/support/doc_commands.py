"""The commands that README and docs show: `doc_commands`."""

from __future__ import annotations

import re
import shlex
import string
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_PROGRAMS = ("spinesearch", "make")
_LANGUAGES = ("", "sh", "bash", "console")
_BLOCK = re.compile(r"^ *```(\S*)[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_ASSIGNMENT = re.compile(r"^(\w+)=(\"[^\"]*\"|\S*)$")
_LOOP = re.compile(r"^for (\w+) in (.*?); do$")


class DocCommand(NamedTuple):
    """One command.

    Attributes:
        page: where it stands.
        words: as a shell would split it, without comments, variables replaced.
    """

    page: str
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        """For people."""
        return " ".join(self.words)


def doc_commands() -> list[DocCommand]:
    """Every command of ours in a block of README, CONTRIBUTING or a page, in their order."""
    return [command for page in PAGES for command in _commands(page)]


def _commands(page: Path) -> Iterator[DocCommand]:
    variables: dict[str, str] = {}
    for block in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        if block[1] not in _LANGUAGES:
            continue
        for line in block[2].replace("\\\n", " ").splitlines():
            line = line.strip().removeprefix("$ ")
            if assigned := _ASSIGNMENT.match(line):
                variables[assigned[1]] = assigned[2].strip('"')
            elif loop := _LOOP.match(line):
                variables[loop[1]] = loop[2].split()[0]
            elif line.split(" ")[0] in _PROGRAMS:
                known = string.Template(line).safe_substitute(variables)
                yield DocCommand(page.name, tuple(shlex.split(known, comments=True)))
