"""What hydra and OmegaConf found wrong with a setting, in one line for people."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

_LEVEL_COUNTS = "space.base_levels."
# How OmegaConf says it.
_WRONG_KIND = re.compile(
    r"Value (?P<value>'.*') "
    r"(of type '.*' could not be converted to (?P<kind>\w+)|is not a valid (?P<bool>bool))"
)
_KINDS = {"Integer": "a whole number", "Float": "a number", "bool": "true or false"}


def unknown_setting(key: str, known: Sequence[str]) -> str:
    """That there is no such setting, and which of the known ones may be meant."""
    if key.startswith(_LEVEL_COUNTS):
        return f"{key}: this space has no blocks at that base level; to give it some, write +{key}=1"
    if key in known:
        section = key.partition(".")[0]
        return f"{key}: not a setting of the {section} chosen; choose it by {section}=NAME"
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.6)
    hint = f"did you mean {', '.join(near)}?" if near else "`spinesearch search --cfg` prints all settings"
    return f"{key}: there is no such setting; {hint}"


def reason(error: Exception, overrides: Sequence[str], known: Sequence[str]) -> str:
    """Hydra's message on one line, with the cause that it hides and what is meant by it."""
    from hydra.errors import MissingConfigException
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError

    cause = error.__cause__
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        return unknown_setting(str(cause.full_key), known)
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = (error.missing_cfg_file or "").rpartition("/")
        return f"{group}: must be one of {', '.join(error.options)}, got {name!r}"
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
    if "is not Optional" in text:
        return "must not be null"
    if found := _WRONG_KIND.match(text):
        kind = found["kind"] or found["bool"]
        return f"must be {_KINDS.get(kind, kind)}, got {found['value']}"
    return text
