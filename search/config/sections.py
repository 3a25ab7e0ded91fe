"""The groups of settings, the classes behind them, and what the types of their fields say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, get_origin, get_type_hints

from spinesearch.controller.strategies import STRATEGIES
from spinesearch.data.data_settings import ClassDataSettings, CocoDataSettings, GeneratedDataSettings
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.search.config.settings import SearchSettings
from spinesearch.search.config.train_workers import TrainWorkers
from spinesearch.space.build import SpineNetSettings
from spinesearch.training.run.train_settings import TrainSettings

# The classes behind the choices of each group, by the `name` that its yaml files set.
SECTIONS: Mapping[str, Mapping[Any, type[Any]]] = {
    "space": {None: SpineNetSettings},
    "proxy_task": {None: ProxySettings},
    "controller": STRATEGIES,
    "data": {
        "generated": GeneratedDataSettings,
        "coco": CocoDataSettings,
        "classes": ClassDataSettings,
    },
    "search": {None: SearchSettings},
}
TRAINING_SECTIONS: Mapping[str, Mapping[Any, type[Any]]] = {
    "train": {None: TrainSettings},
    "data": SECTIONS["data"],
    "search": {None: TrainWorkers},
}
# All sections of any command; those of a search where both have one.
ALL_SECTIONS = {**TRAINING_SECTIONS, **SECTIONS}
GROUPS = (*ALL_SECTIONS, "experiment")

# Text settings that are paths on this machine: ~ is expanded, and a URL is refused.
DATA_PATHS = (
    "train_images",
    "train_annotations",
    "score_images",
    "score_annotations",
    "val_images",
    "val_annotations",
    "cache_dir",
)
PATH_SETTINGS = ("runs_dir", "init_from", "search.latency_table", *(f"data.{name}" for name in DATA_PATHS))
# What any resumed run may have otherwise, as it decides no result: where things lie, which data are refused.
FREE_OF_ALL = ("name", "label", "mirror", "data.max_megapixels", "data.allow_overlap", *PATH_SETTINGS)


@dataclass(frozen=True, kw_only=True)
class TopLevel:
    """The settings outside all sections."""

    seed: int
    name: str | None
    label: str
    runs_dir: str
    mirror: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingTopLevel:
    """The settings of a training outside all sections."""

    seed: int
    name: str | None
    label: str
    runs_dir: str
    init_from: str | None
    mirror: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Schema:
    """What the configuration of a command is made of.

    Attributes:
        command: the command's name.
        primary: yaml file of `spinesearch.conf` that it begins with.
        top: class of the settings outside all sections.
        sections: those that it has, as `SECTIONS`.
        optional: groups that are composed only if they are named.
        files: yaml files of sections that are no group, of which there is nothing to choose.
    """

    command: str
    primary: str
    top: type[Any]
    sections: Mapping[str, Mapping[str | None, type[Any]]]
    optional: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    def has(self, key: str) -> bool:
        """Whether a setting or group can stand in it, by its full name."""
        root, _, name = key.partition(".")
        if root in self.files:
            return name in self.sections[root][None].__dataclass_fields__
        return root in (*self.sections, *self.optional) or root in self.top.__dataclass_fields__


SEARCH = Schema(command="search", primary="config", top=TopLevel, sections=SECTIONS, optional=("experiment",))
TRAINING = Schema(
    command="train",
    primary="training",
    top=TrainingTopLevel,
    sections=TRAINING_SECTIONS,
    files={"search": "training_workers"},
)


@cache
def setting_types() -> Mapping[str, Any]:
    """The type of every setting of any command by its full name, as ``search.num_trials``."""
    types = dict(get_type_hints(TopLevel)) | get_type_hints(TrainingTopLevel)
    for section, classes in ALL_SECTIONS.items():
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
