"""A run's configuration: hydra composes yaml, `RunConfig` checks it, and beyond are plain dataclasses only.

`DictConfig` stops in this file.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spinesearch.controller.strategies import ControllerSettings
from spinesearch.data.data_settings import DataSettings
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.search.config.as_yaml import to_yaml
from spinesearch.search.config.checked import CSV, checked_values
from spinesearch.search.config.config_errors import ConfigError as ConfigError
from spinesearch.search.config.config_errors import reason, unknown_setting
from spinesearch.search.config.overrides import parse_overrides
from spinesearch.search.config.sections import FREE_OF_ALL, SEARCH, Schema
from spinesearch.search.config.settings import FREE_SEARCH_SETTINGS, SearchSettings
from spinesearch.space.build import SpineNetSettings


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
    data: DataSettings
    search: SearchSettings
    mirror: str | None = None  # younger than the first ledgers

    @property
    def gpus_per_worker(self) -> float | None:
        """GPUs that a worker occupies; None for one where there are any, but on the CPU it needs none."""
        if self.search.gpus_per_trial is None and self.proxy_task.device == "cpu":
            return 0.0
        return self.search.gpus_per_trial

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the ledger; the inverse of `run_config`."""
        return asdict(self)


def compose(words: Sequence[str], schema: Schema = SEARCH) -> dict[str, Any]:
    """Plain data from the yaml of `spinesearch.conf` with ``key=value`` words applied, types unchecked.

    Raises:
        ConfigError: a word names a group, choice or setting that does not exist, or cannot be read.
    """
    return _compose(words, schema)[0]


def composed_yaml(words: Sequence[str], schema: Schema = SEARCH) -> str:
    """What `compose` gives, as yaml text with the comments of the files that the words choose.

    Raises:
        ConfigError: as `compose`.
    """
    config, chosen = _compose(words, schema)
    return to_yaml(config, chosen)


def _compose(words: Sequence[str], schema: Schema) -> tuple[dict[str, Any], dict[str, str]]:
    """The composed configuration, and the file of each group that it comes from."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    overrides = parse_overrides(words)
    grammar = []
    for override in overrides:
        if not schema.has(override.key):
            raise ConfigError(
                f"{override.key}: `spinesearch {schema.command}` has no such setting; "
                f"`spinesearch {schema.command} --cfg` prints all that it has"
            )
        if override.prefix == "~" or override.is_group:
            # `experiment` is no part of the defaults list, so that naming one always adds it.
            is_added = override.key == "experiment" and not override.prefix
            grammar.append(f"+{override.word}" if is_added else override.word)
        elif not override.is_text:
            override.parsed()  # hydra reads it again; its message would be a lexer's
            grammar.append(override.word)
    try:
        config, chosen = copy.deepcopy(_composed(schema.primary, tuple(grammar)))
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


@functools.lru_cache(maxsize=128)
def _composed(primary: str, grammar: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    """What hydra makes of words in its grammar: always the same, and it takes long."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from omegaconf import OmegaConf

    with initialize_config_module("spinesearch.conf", version_base="1.3"):
        node = hydra_compose(primary, list(grammar), return_hydra_config=True)
        config = _plain(OmegaConf.masked_copy(node, [str(key) for key in node if key != "hydra"]))
        return config, dict(node.hydra.runtime.choices)


def run_config(config: Mapping[str, Any]) -> RunConfig:
    """The checked configuration from composed yaml or from a ledger's ``run`` event.

    Raises:
        ConfigError: a setting is missing, unknown, of the wrong type or out of its range.
    """
    return RunConfig(**checked_values(config, SEARCH))


def with_overrides(recorded: Mapping[str, Any], words: Sequence[str]) -> RunConfig:
    """A recorded configuration with ``key=value`` words applied.

    Raises:
        ConfigError: as `run_config`, and for words that choose a group, add or remove.
    """
    return run_config(overridden(recorded, words))


def overridden(recorded: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """A recorded configuration as plain data, with ``key=value`` words applied; types unchecked.

    Raises:
        ConfigError: a word chooses a group, adds or removes, or cannot be read.
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
    return config


def _plain(node: Any) -> dict[str, Any]:
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(node, resolve=True)
    return dict(plain)


# Settings of the proxy task that say how a candidate is computed and not what: on the CPU it scores the same
# to the last bit, on CUDA up to rounding, which training amplifies; each result records what ran
# (`TaskResult.device`).
FREE_PROXY_SETTINGS = ("device", "evaluator", "cuda_graph", "pack_on_device", "kernels")

# What a resumed run may change: how it is run, and where the same data lies. The rest decides its results.
_FREE_SETTINGS = frozenset(
    {*FREE_OF_ALL}
    | {f"proxy_task.{key}" for key in FREE_PROXY_SETTINGS}
    | {f"search.{key}" for key in FREE_SEARCH_SETTINGS}
)


def check_resumable(recorded: RunConfig, wanted: RunConfig, *, unused: Collection[str] = ()) -> None:
    """Check that a run may be continued under another configuration.

    Args:
        recorded: what it was begun with, or last resumed.
        wanted: what it is to be continued with.
        unused: settings that a run of its kind has no use for, with all that stands below them.

    Raises:
        ConfigError: a setting that decides results differs, or fewer trials are requested than before.
    """
    old, new = flat(recorded.to_dict()), flat(wanted.to_dict())
    if new["search.num_trials"] < old["search.num_trials"]:
        raise ConfigError(
            "search.num_trials: a run can grow but not shrink: "
            f"it was begun with {old['search.num_trials']}, got {new['search.num_trials']}"
        )
    check_unchanged(old, new, _FREE_SETTINGS | {"search.num_trials", *unused})


def check_unchanged(old: Mapping[str, Any], new: Mapping[str, Any], free: Collection[str]) -> None:
    """Check that two configurations differ in nothing but what may be changed.

    Args:
        old: as a run was begun with, or as last resumed: settings by their full names (`flat`).
        new: as wanted.
        free: what may be changed, with all that stands below it.

    Raises:
        ConfigError: another setting differs.
    """
    for key in sorted(old.keys() | new.keys()):
        # A setting that is a mapping stands here by its keys: search.resources_per_trial.TPU
        if any(f"{key}.".startswith(f"{name}.") for name in free):
            continue
        if key == "data.group_by" and all(str(side.get(key)).startswith(CSV) for side in (old, new)):
            continue  # where the file lies; the data key holds what it says
        if old.get(key) != new.get(key):
            raise ConfigError(
                f"{key}: this run was begun with {old.get(key)!r} and cannot be continued with "
                f"{new.get(key)!r}; start a new run for that (another name=...)"
            )


def flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings in nested mappings by their full names, as ``search.num_trials``."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return found
