"""How a search's finalists are trained: `finalist_config`, and `rerank_config` to do it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from spinesearch.search.config.config_errors import ConfigError
from spinesearch.search.config.overrides import parse_overrides
from spinesearch.search.config.run_config import RunConfig, run_config, with_overrides

_SECTION = "proxy_task."
_TASK = "search.finalist_task"
_LENGTHS = ("num_steps", "num_epochs")
_DEFAULT_FINALISTS = 8  # of `spinesearch rerank` on a run whose search had none


def finalist_config(config: RunConfig) -> RunConfig:
    """The configuration that a search's finalists are trained with.

    Its proxy task is the search's with ``search.finalist_task`` applied; unless that says how long, it is
    ``search.finalist_length`` times as long.

    Raises:
        ConfigError: ``search.finalist_task`` names no setting, or a value it cannot have.
    """
    own = config.search.finalist_task or {}
    values = asdict(config.proxy_task)
    for key in own:
        if key not in values:
            raise ConfigError(
                f"{_TASK}: {key} is no setting of proxy_task; `spinesearch search --cfg` has all"
            )
    if any(own.get(name) is not None for name in _LENGTHS):
        values |= dict.fromkeys(_LENGTHS)
    elif values["num_steps"] is not None:
        values["num_steps"] = max(1, round(config.search.finalist_length * values["num_steps"]))
    else:
        values["num_epochs"] *= config.search.finalist_length
    try:
        return run_config(config.to_dict() | {"proxy_task": values | own})
    except ConfigError as error:
        raise ConfigError(str(error).replace(_SECTION, f"{_TASK}: ")) from error


def rerank_config(
    recorded: Mapping[str, Any], words: Sequence[str], *, top: int | None, num_seeds: int | None
) -> RunConfig:
    """A recorded configuration for another re-ranking of the run.

    Args:
        recorded: the run's.
        words: ``proxy_task.key=value`` for what differs in the finalists' training, in place of all that
            differed before; other settings as for a resumed run.
        top: how many candidates; None for as many as recorded, or 8.
        num_seeds: trainings of each; None for as many as recorded.

    Raises:
        ConfigError: as `with_overrides` and `finalist_config`, or a number is less than 1.
    """
    task: dict[str, Any] = {}
    others = []
    for override in parse_overrides(words):
        if override.key == "search.num_trials":
            raise ConfigError(
                f"{override.key}: the best are ranked again without searching on; `spinesearch resume` does"
            )
        if override.key.startswith(_SECTION) and not override.prefix:
            value = override.text() if override.is_text else override.parsed()
            task[override.key.removeprefix(_SECTION)] = value
        else:
            others.append(override.word)
    config = with_overrides(recorded, others)
    search = config.search
    finalists = (search.finalists or _DEFAULT_FINALISTS) if top is None else top
    seeds = search.finalist_seeds if num_seeds is None else num_seeds
    for option, number in (("--top", finalists), ("--seeds", seeds)):
        if number < 1:
            raise ConfigError(f"{option}: must be at least 1, got {number}")
    search = replace(search, finalists=finalists, finalist_seeds=seeds, finalist_task=task or None)
    config = replace(config, search=search)
    try:
        finalist_config(config)
    except ConfigError as error:
        raise ConfigError(str(error).replace(f"{_TASK}: ", _SECTION)) from error
    return config
