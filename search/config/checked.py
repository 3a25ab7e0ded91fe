"""Plain data made into the settings classes of a `Schema`, which check their own values."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from spinesearch.controller import bayesian, reinforce
from spinesearch.data.data_settings import ClassDataSettings, CocoDataSettings
from spinesearch.search.config.config_errors import ConfigError, unknown_setting, wrong_type
from spinesearch.search.config.sections import DATA_PATHS, Schema
from spinesearch.search.config.settings import CLASSIFICATION_METRICS, DETECTION_METRICS
from spinesearch.training.recipe import CLASSIFICATION

CSV = "csv:"  # begins a data.group_by that is a file
# What ledgers older than a setting did, by section and `name`, where that is not the setting's default.
IN_OLD_LEDGERS: Mapping[tuple[str, str | None], Mapping[str, Any]] = {
    ("data", "coco"): {"group_by": "id"},
    ("controller", "reinforce"): reinforce.IN_OLD_LEDGERS,
    ("controller", "bayesian"): bayesian.IN_OLD_LEDGERS,
}
_MAX_SEED = 2**63 - 1  # torch's generators take no more


def checked_values(config: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """The settings outside all sections, and an instance of its class for each section.

    Args:
        config: composed yaml, or what a ledger's ``run`` event holds.
        schema: what it must be made of.

    Raises:
        ConfigError: a setting is missing, unknown, of the wrong type or out of its range.
    """
    top = {key: value for key, value in config.items() if key not in schema.sections}
    values: dict[str, Any] = asdict(_checked(schema.top, top, ""))
    for section in schema.sections:
        # A ledger that is older than a section without choices does not hold it.
        node = config.get(section, {} if section in schema.files else None)
        values[section] = checked_section(node, schema, section)
    if not 0 <= values["seed"] <= _MAX_SEED:
        raise ConfigError(f"seed: must be in 0..{_MAX_SEED}, got {values['seed']}")
    _check_task("train" if "train" in values else "proxy_task", values)
    return values


def _check_task(section: str, values: Mapping[str, Any]) -> None:
    """Check that what is learnt can be learnt from the data, and that the scores are those of the task."""
    task, data = values[section].task, values["data"]
    if (task == CLASSIFICATION) != isinstance(data, ClassDataSettings):
        needs = (
            "one class per image, data=classes"
            if task == CLASSIFICATION
            else "boxes, which data=classes lacks"
        )
        raise ConfigError(
            f"{section}.task: {task} needs images with {needs}, got data={data.name}; change one of the two"
        )
    known = CLASSIFICATION_METRICS if task == CLASSIFICATION else DETECTION_METRICS
    search = values["search"]
    names = ("reward_metric", "finalist_metric") if getattr(search, "finalists", 0) else ("reward_metric",)
    if wrong := [name for name in names if getattr(search, name, known[0]) not in known]:
        words = " ".join(f"search.{name}={known[0]}" for name in wrong)
        raise ConfigError(
            f"search.{wrong[0]}: must be one of {', '.join(known)} for {section}.task={task}, got "
            f"{getattr(search, wrong[0])!r}; give {words}"
        )


def checked_section(node: Any, schema: Schema, section: str) -> Any:
    """An instance of the class of a section.

    Raises:
        ConfigError: as for `checked_values`.
    """
    classes = schema.sections[section]
    if not isinstance(node, Mapping):
        raise ConfigError(f"{section}: must be a group of settings, got {node!r}")
    kind = None if None in classes else node.get("name")
    if kind not in classes:
        known = ", ".join(str(name) for name in classes)
        raise ConfigError(f"{section}.name: must be one of {known}, got {kind!r}")
    node = {**IN_OLD_LEDGERS.get((section, kind), {}), **node}
    settings = _checked(classes[kind], node, f"{section}.")
    return with_absolute_paths(settings) if section == "data" else settings


def with_absolute_paths(data: Any) -> Any:
    """Data settings that mean the same in another working directory: a worker's, a later session's."""
    paths = {
        name: os.path.abspath(os.path.expanduser(value))
        for name in DATA_PATHS
        if (value := getattr(data, name, None)) is not None
    }
    if isinstance(data, CocoDataSettings) and data.group_by.startswith(CSV):
        path = os.path.expanduser(data.group_by.removeprefix(CSV))
        paths["group_by"] = f"{CSV}{os.path.abspath(path)}"
    return replace(data, **paths)


def _escaped(value: Any) -> Any:
    """Plain data in which OmegaConf finds no interpolation: ``${x}`` is text."""
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", value)
    if isinstance(value, Mapping):
        return {key: _escaped(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(entry) for entry in value]
    return value


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
