"""A command that is given again to a run of an earlier release, which had other defaults: `as_begun`.

A job that is restarted with the command it had continues its run: where the command leaves the choice to a
default of today, the run keeps what it was begun with, and a line says so. A value that is today's default
counts as left out, also where it was asked for: the two cannot be distinguished. Any other is compared with
the run, and refused if it differs, as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, cast

from spinesearch.controller.strategies import STRATEGIES
from spinesearch.data.data_settings import CocoDataSettings, GeneratedDataSettings
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.search.config.checked import IN_OLD_LEDGERS
from spinesearch.search.config.run_config import RunConfig, compose, run_config


def as_begun(wanted: RunConfig, begun: Mapping[str, Any], report: Callable[[str], None]) -> RunConfig:
    """What is wanted, with what an older run has where today's default is another.

    Args:
        wanted: by a command.
        begun: the configuration that the run was begun with, as recorded.
        report: called with a line for each kind of difference that this makes.
    """
    for keep in (with_old_split, with_old_strategy, with_old_default_strategy, with_old_proxy):
        wanted = keep(wanted, begun, report)
    return wanted


def with_old_split(wanted: RunConfig, begun: Mapping[str, Any], report: Callable[[str], None]) -> RunConfig:
    """What is wanted, with the split of a run that was begun before images were grouped by picture."""
    data = wanted.data
    if not isinstance(data, CocoDataSettings) or data.group_by != "picture" or "group_by" in begun["data"]:
        return wanted
    report("data.group_by: the run was begun before images were grouped, and keeps its split by image id")
    return replace(wanted, data=replace(data, group_by="id"))


def with_old_strategy(
    wanted: RunConfig, begun: Mapping[str, Any], report: Callable[[str], None]
) -> RunConfig:
    """What is wanted, with the strategy of a run that was begun before its younger settings."""
    controller, recorded = wanted.controller, begun["controller"]
    old = IN_OLD_LEDGERS.get(("controller", controller.name), {})
    if not old or recorded["name"] != controller.name or old.keys() & recorded.keys():
        return wanted
    defaults = STRATEGIES[controller.name]()
    kept = {
        name: value
        for name, value in {**recorded, **old}.items()
        if getattr(controller, name) == getattr(defaults, name)  # any other was asked for, and is refused
    }
    report(f"controller: the run was begun with {controller.name} as it was before 2026-12, and keeps it")
    return replace(wanted, controller=replace(cast(Any, controller), **kept))


def with_old_default_strategy(
    wanted: RunConfig, begun: Mapping[str, Any], report: Callable[[str], None]
) -> RunConfig:
    """What is wanted, with the strategy of a run that was begun when `reinforce` was the default."""
    if (
        "max_latency_ms" in begun["search"]  # younger than the change
        or begun["controller"]["name"] != "reinforce"
        or wanted.controller != run_config(compose([])).controller
    ):
        return wanted
    report(
        "controller: the run was begun when reinforce was the default (before 2026-12), and keeps it; "
        f"begin a new run for {wanted.controller.name}"
    )
    return replace(wanted, controller=run_config(begun).controller)


def with_old_proxy(wanted: RunConfig, begun: Mapping[str, Any], report: Callable[[str], None]) -> RunConfig:
    """What is wanted, with the proxy task, the reward and the drawn images of a run begun before 2026-12."""
    recorded = begun["proxy_task"]
    if "merge_classes" in recorded:
        return wanted
    today = run_config(compose([]))
    kept = {
        field.name: recorded.get(field.name, field.default)
        for field in fields(ProxySettings)
        if getattr(wanted.proxy_task, field.name) == getattr(today.proxy_task, field.name)
    }
    config = replace(wanted, proxy_task=replace(wanted.proxy_task, **kept))
    if wanted.search.reward_metric == today.search.reward_metric:
        metric = begun["search"]["reward_metric"]
        config = replace(config, search=replace(config.search, reward_metric=metric))
    data, drawn = wanted.data, today.data
    assert isinstance(drawn, GeneratedDataSettings), "what a command that names no data has"
    if isinstance(data, GeneratedDataSettings) and data.object_sizes == drawn.object_sizes:
        config = replace(config, data=replace(data, object_sizes="narrow"))
    if config != wanted:
        report("proxy_task: the run was begun under other defaults (before 2026-12), and keeps them")
    return config
