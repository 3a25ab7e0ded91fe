"""A configuration as yaml text with the comments of the files it is composed from: what ``--cfg`` prints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from spinesearch.search.config.sections import ALL_SECTIONS, SEARCH, TRAINING, choices

_SETTING = re.compile(r"(?P<key>\w+):(?P<value>.*?)(?:\s+#\s*(?P<comment>.*))?$")
_COMMENT = re.compile(r"(?P<indent>\s*)#\s?(?P<comment>.*)$")


@dataclass(kw_only=True, slots=True)
class _Comments:
    """What a yaml file of `spinesearch.conf` says about its settings.

    Attributes:
        values: by key, as the file has them.
        above: comment lines that stand above a key.
        behind: the comment behind a key, continuation lines joined to it.
    """

    values: dict[str, Any] = field(default_factory=dict)
    above: dict[str, list[str]] = field(default_factory=dict)
    behind: dict[str, str] = field(default_factory=dict)


def to_yaml(config: Mapping[str, Any], chosen: Mapping[str, str] | None = None) -> str:
    """A configuration as yaml text, each setting with its comment.

    Args:
        config: plain data, as `compose` gives it or a ledger holds it; or some sections of it.
        chosen: the file of each group that the values come from, where that is known.
    """
    schema = TRAINING if "train" in config else SEARCH
    chosen = {**_named(config), **(chosen or {})}
    files = {section: f"{section}/{name}" for section, name in chosen.items()} | dict(schema.files)
    top = _comments(schema.primary)
    lines = []
    for key, value in config.items():
        if key in ALL_SECTIONS and isinstance(value, Mapping):
            comments = _comments(files[key]) if key in files else _Comments()
            lines.append(f"{key}:")
            for name, entry in value.items():
                lines += _setting(name, entry, comments, indent="  ")
        else:
            lines += _setting(key, value, top, indent="")
    return "\n".join(lines) + "\n"


def _named(config: Mapping[str, Any]) -> dict[str, str]:
    """The files that a configuration names itself, or that are the only ones of their group."""
    named = {}
    for section in ALL_SECTIONS:
        name = (config.get(section) or {}).get("name")
        files = choices(section)
        if name in files:
            named[section] = name
        elif len(files) == 1:
            named[section] = files[0]
    return named


def _setting(key: str, value: Any, comments: _Comments, indent: str) -> list[str]:
    line = f"{indent}{key}: {_flow(value)}"
    comment = comments.behind.get(key, "")
    if key in comments.values and _plain(value) != comments.values[key] and comments.values[key] != "???":
        # What a comment says of the file's value, as a source, should not seem to concern this one.
        default = f"default {_flow(comments.values[key])}"
        comment = f"{default}; {comment}" if comment else default
    above = [f"{indent}# {text}".rstrip() for text in comments.above.get(key, ())]
    return [*above, f"{line}  # {comment}" if comment else line]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _flow(value: Any) -> str:
    """A value on one line, which yaml reads back as the same."""
    import yaml

    text: str = yaml.safe_dump(
        [_plain(value)], default_flow_style=True, width=float("inf"), allow_unicode=True, sort_keys=False
    )
    text = text.strip()[1:-1]
    return f"'{text}'" if isinstance(value, str) and text == value and _is_number(text) else text


def _is_number(text: str) -> bool:
    """Whether other readers of yaml than Python's take it for a number: ``12e4567``."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _comments(name: str) -> _Comments:
    """The comments of a file, but for the paragraph at its top."""
    import yaml

    text = resources.files("spinesearch.conf").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    found = _Comments(values=yaml.safe_load(text))
    above: list[str] = []
    key, seen_any = "", False
    for line in text.splitlines():
        if comment := _COMMENT.match(line):
            if comment["indent"] and key in found.behind:  # continues the one behind the setting above
                found.behind[key] += f" {comment['comment']}"
            elif seen_any:
                above.append(comment["comment"])
        elif setting := _SETTING.match(line):
            key = setting["key"]
            if above:
                found.above[key], above = above, []
            if setting["comment"]:
                found.behind[key] = setting["comment"]
        else:
            above = []
        seen_any = seen_any or not line.startswith("#")
    return found
