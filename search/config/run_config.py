"""A run's configuration: hydra composes yaml, `RunConfig` checks it, and beyond are plain dataclasses only.

`DictConfig` stops in this file.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from spinesearch.controller.strategies import ControllerSettings
from spinesearch.data.data_settings import CocoDataSettings, GeneratedDataSettings
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.search.config.as_yaml import to_yaml
from spinesearch.search.config.config_errors import ConfigError as ConfigError
from spinesearch.search.config.config_errors import reason, unknown_setting, wrong_type
from spinesearch.search.config.overrides import parse_overrides
from spinesearch.search.config.sections import DATA_PATHS, PATH_SETTINGS, SECTIONS, TopLevel
from spinesearch.search.config.settings import FREE_SEARCH_SETTINGS, SearchSettings
from spinesearch.space.build import SpineNetSettings

_CSV = "csv:"  # begins a data.group_by that is a file
# What ledgers older than a setting did, by section and `name`, where that is not the setting's default.
_IN_OLD_LEDGERS: Mapping[tuple[str, str | None], Mapping[str, Any]] = {("data", "coco"): {"group_by": "id"}}
_MAX_SEED = 2**63 - 1  # torch's generators take no more


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """Everything a run is a function of, and where it goes."""

    seed: int
    name: str | None
    label: str
    runs_dir: str
    space: SpineNetSettings
    proxy_task: ProxySettings
    controller: ControllerSettings
    data: GeneratedDataSettings | CocoDataSettings
    search: SearchSettings
    mirror: str | None = None  # younger than the first ledgers

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the ledger; the inverse of `run_config`."""
        return asdict(self)


def compose(words: Sequence[str]) -> dict[str, Any]:
    """Plain data from the yaml of `spinesearch.conf` with ``key=value`` words applied, types unchecked.

    Raises:
        ConfigError: a word names a group, choice or setting that does not exist, or cannot be read.
    """
    return _compose(words)[0]


def composed_yaml(words: Sequence[str]) -> str:
    """What `compose` gives, as yaml text with the comments of the files that the words choose.

    Raises:
        ConfigError: as `compose`.
    """
    config, chosen = _compose(words)
    return to_yaml(config, chosen)


def _compose(words: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The composed configuration, and the file of each group that it comes from."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    overrides = parse_overrides(words)
    grammar = []
    for override in overrides:
        if override.prefix == "~" or override.is_group:
            # `experiment` is no part of the defaults list, so that naming one always adds it.
            is_added = override.key == "experiment" and not override.prefix
            grammar.append(f"+{override.word}" if is_added else override.word)
        elif not override.is_text:
            override.parsed()  # hydra reads it again; its message would be a lexer's
            grammar.append(override.word)
    try:
        with initialize_config_module("spinesearch.conf", version_base="1.3"):
            node = hydra_compose("config", grammar, return_hydra_config=True)
            chosen = dict(node.hydra.runtime.choices)
            config = _plain(OmegaConf.masked_copy(node, [str(key) for key in node if key != "hydra"]))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(reason(error, words)) from error
    for override in overrides:
        if override.is_text and override.prefix != "~":
            section, _, name = override.key.rpartition(".")
            settings = config[section] if section else config
            if name not in settings:  # of another choice of the group
                raise ConfigError(unknown_setting(override.key))
            settings[name] = override.text()
    return config, chosen


def run_config(config: Mapping[str, Any]) -> RunConfig:
    """The checked configuration from composed yaml or from a ledger's ``run`` event.

    Raises:
        ConfigError: a setting is missing, unknown, of the wrong type or out of its range.
    """
    top = {key: value for key, value in config.items() if key not in SECTIONS}
    values: dict[str, Any] = asdict(_checked(TopLevel, top, ""))
    for section, classes in SECTIONS.items():
        node = config.get(section)
        if not isinstance(node, Mapping):
            raise ConfigError(f"{section}: must be a group of settings, got {node!r}")
        kind = None if None in classes else node.get("name")
        if kind not in classes:
            known = ", ".join(str(name) for name in classes)
            raise ConfigError(f"{section}.name: must be one of {known}, got {kind!r}")
        node = {**_IN_OLD_LEDGERS.get((section, kind), {}), **node}
        values[section] = _checked(classes[kind], node, f"{section}.")
    if not 0 <= values["seed"] <= _MAX_SEED:
        raise ConfigError(f"seed: must be in 0..{_MAX_SEED}, got {values['seed']}")
    values["data"] = _with_absolute_paths(values["data"])
    return RunConfig(**values)


def _with_absolute_paths(data: Any) -> Any:
    """Data settings that mean the same in another working directory: a worker's, a later session's."""
    paths = {
        name: os.path.abspath(os.path.expanduser(value))
        for name in DATA_PATHS
        if (value := getattr(data, name, None)) is not None
    }
    if isinstance(data, CocoDataSettings) and data.group_by.startswith(_CSV):
        path = os.path.expanduser(data.group_by.removeprefix(_CSV))
        paths["group_by"] = f"{_CSV}{os.path.abspath(path)}"
    return replace(data, **paths)


def with_overrides(recorded: Mapping[str, Any], words: Sequence[str]) -> RunConfig:
    """A recorded configuration with ``key=value`` words applied.

    Raises:
        ConfigError: as `run_config`, and for words that choose a group, add or remove.
    """
    config = copy.deepcopy(dict(recorded))
    for override in parse_overrides(words):
        if override.prefix or override.is_group:
            raise ConfigError(f"{override.word}: a resumed run takes settings of the form section.key=value")
        if override.key in ("name", "label", "runs_dir"):
            raise ConfigError(f"{override.key}: a run stays where it is; move its folder instead")
        node: dict[str, Any] = config
        *sections, name = override.key.split(".")
        for section in sections:
            if not isinstance(node.get(section), dict):
                node[section] = {}
            node = node[section]
        value = override.text() if override.is_text else override.parsed()
        if isinstance(value, dict) and isinstance(node.get(name), dict):
            value = node[name] | value  # as hydra merges mappings
        node[name] = value
    return run_config(config)


def _plain(node: Any) -> dict[str, Any]:
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(node, resolve=True)
    return dict(plain)


def _escaped(value: Any) -> Any:
    """Plain data in which OmegaConf finds no interpolation: ``${x}`` is text."""
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", value)
    if isinstance(value, Mapping):
        return {key: _escaped(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(entry) for entry in value]
    return value


# Settings of the proxy task under which a candidate scores the same, up to the last bits.
FREE_PROXY_SETTINGS = ("device", "evaluator", "cuda_graph")

# What a resumed run may change: how it is run, and where the same data lies. The rest decides its results.
_FREE_SETTINGS = frozenset(
    {"name", "label", "mirror", "data.max_megapixels", *PATH_SETTINGS}
    | {f"proxy_task.{key}" for key in FREE_PROXY_SETTINGS}
    | {f"search.{key}" for key in FREE_SEARCH_SETTINGS}
)


def check_resumable(recorded: RunConfig, wanted: RunConfig) -> None:
    """Check that a run may be continued under another configuration.

    Raises:
        ConfigError: a setting that decides results differs, or fewer trials are requested than before.
    """
    old, new = _flat(recorded.to_dict()), _flat(wanted.to_dict())
    if new["search.num_trials"] < old["search.num_trials"]:
        raise ConfigError(
            "search.num_trials: a run can grow but not shrink: "
            f"it was begun with {old['search.num_trials']}, got {new['search.num_trials']}"
        )
    for key in sorted(old.keys() | new.keys()):
        # A setting that is a mapping stands here by its keys: search.resources_per_trial.TPU
        if key == "search.num_trials" or any(f"{key}.".startswith(f"{free}.") for free in _FREE_SETTINGS):
            continue
        if key == "data.group_by" and all(str(flat.get(key)).startswith(_CSV) for flat in (old, new)):
            continue  # where the file lies; the data key holds what it says
        if old.get(key) != new.get(key):
            raise ConfigError(
                f"{key}: this run was begun with {old.get(key)!r} and cannot be continued with "
                f"{new.get(key)!r}; start a new run for that (another name=...)"
            )


def with_old_split(wanted: RunConfig, begun: Mapping[str, Any], report: Callable[[str], None]) -> RunConfig:
    """What is wanted, with the split of a run that was begun before images were grouped by picture.

    So that a job which is restarted with the command it had continues its run.

    Args:
        wanted: by a command.
        begun: the configuration that the run was begun with, as recorded.
        report: called with a line if that makes a difference.
    """
    data = wanted.data
    if not isinstance(data, CocoDataSettings) or data.group_by != "picture" or "group_by" in begun["data"]:
        return wanted
    report("data.group_by: the run was begun before images were grouped, and keeps its split by image id")
    return replace(wanted, data=replace(data, group_by="id"))


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat


def _checked(cls: type[Any], node: Mapping[Any, Any], prefix: str) -> Any:
    """An instance of a settings class; errors are prefixed with the section."""
    from omegaconf import OmegaConf
    from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

    try:
        return OmegaConf.to_object(
            OmegaConf.merge(OmegaConf.structured(cls), OmegaConf.create(_escaped(node)))
        )
    except MissingMandatoryValue as error:
        key = f"{prefix}{error.full_key}"
        raise ConfigError(f"{key}: must be given, add {key}=...") from error
    except ConfigKeyError as error:
        raise ConfigError(unknown_setting(f"{prefix}{error.full_key}")) from error
    except OmegaConfBaseException as error:
        key = error.full_key or _unmergeable(cls, node)
        raise ConfigError(f"{prefix}{key}: {wrong_type(error, node.get(key))}") from error
    except ConfigError:
        raise
    except ValueError as error:  # the settings classes name section and field themselves
        raise ConfigError(str(error)) from error


def _unmergeable(cls: type[Any], node: Mapping[Any, Any]) -> str:
    """The first key whose value does not fit, where OmegaConf does not name it: a list for a mapping."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for key, value in node.items():
        try:
            OmegaConf.merge(OmegaConf.structured(cls), {key: _escaped(value)})
        except OmegaConfBaseException:
            return str(key)
    return ""
