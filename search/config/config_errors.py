"""`ConfigError`, and what is wrong with a setting in one line for people."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

from spinesearch.search.config.sections import GROUPS, choices, setting_types

_LEVEL_COUNTS = "space.base_levels."
# How OmegaConf words it.
_WRONG_KIND = re.compile(
    r"Value (?P<value>'.*') "
    r"(of type '.*' could not be converted to (?P<kind>\w+)|is not a valid (?P<bool>bool))"
)
_KINDS = {"Integer": "a whole number", "Float": "a number", "bool": "true or false"}
_SURE = 0.85  # similarity from which an unknown option counts as a mistyped setting


class ConfigError(ValueError):
    """A setting is unknown or has a value it cannot have; the message begins with its full name."""


def unknown_setting(key: str, value: str | None = None) -> str:
    """That there is no such setting, and which of the known ones may be meant.

    Args:
        key: the full name, as it was typed.
        value: what was typed behind it; with it the answer to a mistyped group is what to type.
    """
    section = key.partition(".")[0]
    if key.startswith(_LEVEL_COUNTS):
        return f"{key}: this space has no blocks at that base level; to add some, write +{key}=1"
    if key in setting_types():
        return f"{key}: not a setting of the {section} chosen; choose another by {section}=NAME"
    near = difflib.get_close_matches(key, [*setting_types(), *GROUPS], n=3, cutoff=0.6)
    if near and near[0] in GROUPS:
        known = choices(near[0])
        meant = value if value in known else "|".join(known)
        return f"{key}: there is no such setting; did you mean {near[0]}={meant}?"
    near = [name for name in near if name not in GROUPS]
    hint = f"did you mean {', '.join(near)}?" if near else "`spinesearch search --cfg` prints all settings"
    return f"{key}: there is no such setting; {hint}"


def option_hint(option: str, value: str | None) -> str | None:
    """What to type instead of an option that a command does not have; None if no setting is like it.

    Args:
        option: as typed, without its value: ``--num-trials``.
        value: typed behind it, if anything was.
    """
    if option in ("-m", "--multirun"):
        return "a command runs one search; give a command per search, each with a name=... of its own"
    if option.startswith(("--config", "--hydra", "--package", "--info", "--experimental")):
        return (
            "hydra's own options are not supported; every setting is a key=value, and --cfg prints them all"
        )
    word = option.lstrip("-").replace("-", "_")
    names = [*setting_types(), *GROUPS]
    found = [name for name in names if word in (name, name.rpartition(".")[2])]
    if found:
        # `seed` is a setting of its own as well as one of the data: the shortest name is meant.
        return f"settings are given without dashes: {min(found, key=len)}={value or 'VALUE'}"
    last_words = {name.rpartition(".")[2]: name for name in reversed(names)}
    near = difflib.get_close_matches(word, last_words, n=1, cutoff=_SURE)
    return f"did you mean the setting {last_words[near[0]]}={value or 'VALUE'}?" if near else None


def unreadable(key: str, value: str) -> str:
    """That the value is none of the forms that hydra's grammar has."""
    forms = "a number, true, false, null, a list as [1, 2] or a mapping as {a: 1}"
    return f"{key}: must be {forms}, and cannot be read; got {value!r}"


def reason(error: Exception, overrides: Sequence[str]) -> str:
    """Hydra's message on one line, with the cause that it hides and what is meant by it."""
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError

    cause = error.__cause__
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        return unknown_setting(str(cause.full_key))
    if key := getattr(error, "full_key", None):  # OmegaConf's own, as of an interpolation of nothing
        return f"{key}: cannot be resolved: {str(error).splitlines()[0]}"
    text = " ".join(str(error).split())
    if cause is not None and str(cause) not in text:
        text = f"{text.rstrip('.')}: {' '.join(str(cause).split())}"
    return f"{text} (in: {' '.join(overrides)})"


def wrong_type(error: Exception, value: Any) -> str:
    """What is wrong with the type of a setting's value."""
    text = str(error).splitlines()[0]
    if "is not a ListConfig" in text:
        return f"must be a list in brackets, got {value!r}"
    if "to Dict[" in text or text.startswith("Cannot merge DictConfig with"):
        return f"must be a mapping in braces, got {value!r}"
    if "is not Optional" in text or text.startswith("Incompatible value 'None'"):
        return "must not be null"
    if found := _WRONG_KIND.match(text):
        kind = found["kind"] or found["bool"]
        return f"must be {_KINDS.get(kind, kind)}, got {found['value']}"
    return text
