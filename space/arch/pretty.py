"""JSON that people can read: a line per block."""

from __future__ import annotations

import json
import re
from typing import Any


def pretty_json(data: Any) -> str:
    """Indented JSON text that keeps lists and objects of up to 100 characters on one line."""
    text = json.dumps(data, indent=2)
    while True:
        # Innermost brackets first; a line break never stands inside a JSON string.
        shorter = re.sub(r"[\[{]\n[^\[\]{}]*(?:\[[^\[\]{}\n]*\][^\[\]{}]*)*[\]}]", _on_one_line, text)
        if shorter == text:
            return text + "\n"
        text = shorter


def _on_one_line(match: re.Match[str]) -> str:
    line = re.sub(r",\n *", ", ", match[0])
    line = re.sub(r"\n *", "", line)
    return line if len(line) <= 100 else match[0]
