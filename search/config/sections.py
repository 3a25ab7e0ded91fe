"""The groups of settings, the classes behind them, and what the types of their fields say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, get_origin, get_type_hints

from spinesearch.controller.strategies import STRATEGIES
from spinesearch.data.data_settings import CocoDataSettings, GeneratedDataSettings
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.search.config.settings import SearchSettings
from spinesearch.space.build import SpineNetSettings

# The classes behind the choices of each group, by the `name` that its yaml files set.
SECTIONS: Mapping[str, Mapping[Any, type[Any]]] = {
    "space": {None: SpineNetSettings},
    "proxy_task": {None: ProxySettings},
    "controller": STRATEGIES,
    "data": {"generated": GeneratedDataSettings, "coco": CocoDataSettings},
    "search": {None: SearchSettings},
}
GROUPS = (*SECTIONS, "experiment")

# Text settings that are paths on this machine: ~ is expanded, and a URL is refused.
DATA_PATHS = ("train_images", "train_annotations", "score_images", "score_annotations", "cache_dir")
PATH_SETTINGS = ("runs_dir", *(f"data.{name}" for name in DATA_PATHS))


@dataclass(frozen=True, kw_only=True)
class TopLevel:
    """The settings outside all sections."""

    seed: int
    name: str | None
    label: str
    runs_dir: str
    mirror: str | None = None


@cache
def setting_types() -> Mapping[str, Any]:
    """The type of every setting by its full name, as ``search.num_trials``."""
    types = dict(get_type_hints(TopLevel))
    for section, classes in SECTIONS.items():
        for cls in classes.values():
            types |= {f"{section}.{name}": kind for name, kind in get_type_hints(cls).items()}
    return types


def is_text(key: str) -> bool:
    """Whether a setting's value is text, with or without null."""
    return setting_types().get(key) in (str, str | None)


def mapping_of(key: str) -> str | None:
    """The setting that is a mapping and has this entry: ``space.base_levels`` of ``space.base_levels.L4``."""
    for name, kind in setting_types().items():
        if key.startswith(f"{name}.") and any(get_origin(part) is dict for part in _parts(kind)):
            return name
    return None


def _parts(kind: Any) -> tuple[Any, ...]:
    """The alternatives of ``dict[str, float] | None``; of another type, itself."""
    return kind.__args__ if get_origin(kind) is type(int | None) else (kind,)


@cache
def choices(group: str) -> tuple[str, ...]:
    """The names that a group may be given, in order."""
    files = resources.files("spinesearch.conf").joinpath(group).iterdir()
    return tuple(sorted(file.name[: -len(".yaml")] for file in files if file.name.endswith(".yaml")))
