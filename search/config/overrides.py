"""The words behind a command, ``key=value``: checked, and separated into text and hydra's grammar.

A setting whose type is text has exactly the value behind the first ``=``: ``name=1.10`` is no number, and a
folder may be called ``a=b (1)``. One enclosing pair of quotes is removed, ``null`` is null, and in a path a
leading ``~`` is the home folder. All other settings are read by hydra's grammar.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from spinesearch.search.config.config_errors import ConfigError, unknown_setting, unreadable
from spinesearch.search.config.sections import (
    GROUPS,
    PATH_SETTINGS,
    SECTIONS,
    choices,
    is_text,
    mapping_of,
    setting_types,
)

_PREFIX = re.compile(r"\+\+|\+|~|")  # hydra's: force, add, remove
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://")


@dataclass(frozen=True, kw_only=True, slots=True)
class Override:
    """One word of a command.

    Attributes:
        word: as it was typed.
        prefix: hydra's: empty, ``+``, ``++`` or ``~``.
        key: what it sets, by its full name, or a group.
        value: the text behind the first ``=``; None without one.
    """

    word: str
    prefix: str
    key: str
    value: str | None

    @property
    def is_group(self) -> bool:
        """Whether it chooses a file of a group."""
        return self.key in GROUPS

    @property
    def is_text(self) -> bool:
        """Whether its value is text, which hydra's grammar must not see."""
        return is_text(self.key)

    def text(self) -> str | None:
        """The value of a setting that is text.

        Raises:
            ConfigError: it is a URL where a path is needed, or begins with ``~`` where there is no home.
        """
        assert self.value is not None
        if self.value == "null":
            return None
        text = self.value
        if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
            text = text[1:-1]
        return local_path(self.key, text) if self.key in PATH_SETTINGS else text

    def parsed(self) -> Any:
        """The value of any other setting, by hydra's grammar.

        Raises:
            ConfigError: it cannot be read, or is several values.
        """
        from hydra.core.override_parser.overrides_parser import OverridesParser
        from hydra.errors import HydraException

        assert self.value is not None
        try:
            override = OverridesParser.create().parse_override(f"{self.key}={self.value}")
        except HydraException as error:
            raise ConfigError(unreadable(self.key, self.value)) from error
        if override.is_sweep_override():
            raise ConfigError(
                f"{self.key}: takes one value, got {self.value}; give a command per value, "
                "each with a name=... of its own"
            )
        return override.value()


def parse_overrides(words: Sequence[str]) -> list[Override]:
    """The words of a command, each of which names a setting or a group that there is.

    Raises:
        ConfigError: a word is no ``key=value``, or what it names does not exist or cannot be set so.
    """
    parsed = []
    for word in words:
        name, equals, value = word.partition("=")
        prefix = _PREFIX.match(name)
        assert prefix is not None
        override = Override(
            word=word, prefix=prefix[0], key=name[prefix.end() :], value=value if equals else None
        )
        _check(override, words)
        parsed.append(override)
    return parsed


def _check(override: Override, words: Sequence[str]) -> None:
    key, prefix, value = override.key, override.prefix, override.value
    if key.partition(".")[0].partition("/")[0] == "hydra":
        raise ConfigError(
            f"{key}: hydra's own settings have no effect here; runs_dir and name say where a run is written"
        )
    if value is None and prefix != "~":
        known = key in setting_types() or key in GROUPS
        raise ConfigError(
            f"{override.word}: settings are given as key=value without spaces around the =, as in "
            f"{key if known else 'search.num_trials'}={_value_after(override.word, words) if known else 64}"
        )
    if override.is_group:
        if value not in choices(key):
            raise ConfigError(f"{key}: must be one of {', '.join(choices(key))}, got {value!r}")
        if prefix and key != "experiment":
            raise ConfigError(f"{override.word}: a {key} is chosen without {prefix}: {key}={value}")
        return
    section, _, name = key.rpartition(".")
    if name == "name" and section in SECTIONS:
        # It would only rename what was chosen.
        raise ConfigError(f"{key}: chooses no {section}; give {section}={value or 'NAME'}")
    if key not in setting_types() and mapping_of(key) is None:
        raise ConfigError(unknown_setting(key, value))
    if prefix == "+" and key in setting_types():
        raise ConfigError(f"{override.word}: there is such a setting already; give {key}={value} without +")
    if value is not None and value.strip() == "???":  # OmegaConf's mark of a missing value
        raise ConfigError(f"{key}: must be given, got ???")


def _value_after(word: str, words: Sequence[str]) -> str:
    """What was meant in ``key = value`` or ``key =value``, as far as it can be guessed."""
    rest = "".join(words[list(words).index(word) + 1 :][:2])
    return rest[1:].partition("=")[0] if rest.startswith("=") and rest[1:] else "VALUE"


def local_path(setting: str, text: str) -> str:
    """A path on this machine with the home folder for a leading ``~``.

    Args:
        setting: what it was given for, for messages.
        text: as it was typed.

    Raises:
        ConfigError: it is a URL, or begins with ``~`` and there is no home folder.
    """
    if url := _URL.match(text):
        if url["scheme"].lower() == "file":
            path = unquote(text[url.end() :])
            path = path if path.startswith("/") else f"/{path.partition('/')[2]}"
            raise ConfigError(f"{setting}: must be a path, got the URL {text}; give {path}")
        next_step = (
            f"give a local folder, and mirror={text} to have the run copied there"
            if setting == "runs_dir"
            else "download or mount it and give the path"
        )
        raise ConfigError(f"{setting}: must be a path on this machine, got the URL {text}; {next_step}")
    path = os.path.expanduser(text)
    if path.startswith("~/") or path == "~":
        raise ConfigError(f"{setting}: no home folder is known for the ~ in {text}; give the full path")
    return path
