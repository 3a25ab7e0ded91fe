"""Candidates that a search begins with: networks that people name, and what another run has scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spinesearch.results.ledger.ledger import LedgerError
from spinesearch.results.ledger.run import Run, load_run
from spinesearch.search.config.run_config import ConfigError, RunConfig, run_config
from spinesearch.search.config.settings import SearchSettings
from spinesearch.search.loop.controlled import Beginning
from spinesearch.search.scoring.reward import metric_value, reward_of, soft_cost_of
from spinesearch.search.study.reuse import conditions, difference
from spinesearch.space import SearchSpace, SpecError, load_spec, preset


def beginnings_record(config: RunConfig, data_key: str) -> list[dict[str, Any]]:
    """Those of ``search.initial``, then the completed networks of ``search.warm_start``, for the ledger.

    Args:
        config: of the search.
        data_key: of its data.

    Raises:
        ConfigError: one cannot be had; the message names the setting.
    """
    space = config.space.build()
    found: dict[str, Beginning] = {}
    for name in config.search.initial:
        tokens = _initial_tokens(name, space)
        found.setdefault(space.decode(tokens).arch_id, Beginning(tokens=tokens))
    if config.search.warm_start is not None:
        ours = _conditions({"config": config.to_dict(), "data": {"key": data_key}})
        found |= _scored_elsewhere(config.search, config.search.warm_start, ours)
    if len(found) >= config.search.num_trials:
        raise ConfigError(
            f"search.num_trials: the {len(found)} candidates of search.initial and search.warm_start count "
            f"too; give more than that, got {config.search.num_trials}"
        )
    return [asdict(beginning) for beginning in found.values()]


def recorded_beginnings(event: Mapping[str, Any]) -> list[Beginning]:
    """Those that a run's first ``run`` event holds; ledgers before 2026-12 have none."""
    return [
        Beginning(tokens=tuple(record["tokens"]), result=record["result"])
        for record in event.get("beginnings", [])
    ]


def _initial_tokens(name: str, space: SearchSpace) -> tuple[int, ...]:
    path = Path(name).expanduser()
    try:
        spec = load_spec(path) if path.suffix == ".json" else preset(name)
    except SpecError as error:  # which names the file or the preset
        raise ConfigError(f"search.initial: {error}") from error
    try:
        return space.encode(spec)
    except SpecError as error:
        raise ConfigError(f"search.initial: {name}: {error}") from error


def _scored_elsewhere(search: SearchSettings, run_dir: str, ours: dict[str, Any]) -> dict[str, Beginning]:
    """The completed networks of another run, by identity, if it scored as this one does."""
    try:
        run, _ = load_run(Path(run_dir).expanduser())
    except LedgerError as error:
        raise ConfigError(f"search.warm_start: {error}") from error
    if run.kind != "search":
        raise ConfigError(f"search.warm_start: {run_dir} holds a {run.kind}; give the folder of a search")
    if search.rungs is not None:
        raise ConfigError(
            "search.warm_start: a search with search.rungs compares trainings of one length after the other, "
            "and whole ones of another run have no place there; leave one of the two out"
        )
    differs = difference(ours, _conditions(run.sessions[-1]))
    if differs:
        raise ConfigError(f"search.warm_start: {run_dir} scored otherwise: {differs}")
    name = Path(run_dir).expanduser().resolve().name
    found: dict[str, Beginning] = {}
    for trial in run.trials:
        is_whole = trial.status == "completed" and not trial.is_stopped
        if is_whole and metric_value(trial.metrics, search.reward_metric) is not None:
            result = {
                "status": "completed",
                "reward": reward_of(
                    trial.metrics,
                    metric=search.reward_metric,
                    failed_reward=search.failed_reward,
                    soft_cost=soft_cost_of(search.cost_target, search.cost_weight),
                ),
                "metrics": dict(trial.metrics),
                "seconds": trial.seconds,
                "worker": trial.worker,
                "reused_from": trial.reused_from or name,
            }
            found.setdefault(trial.arch_id, Beginning(tokens=trial.tokens, result=result))
    if not found:
        raise ConfigError(
            f"search.warm_start: {run_dir} has no completed candidate with a value of {search.reward_metric}"
        )
    return found


def _conditions(event: Mapping[str, Any]) -> dict[str, Any]:
    """Space, proxy setting and data of a ``run`` event.

    Versions of the code are left out: what is learnt from may be off by what they change.
    """
    config = run_config(event["config"]).to_dict()  # with the settings that are younger than its ledger
    space = {f"space.{key}": value for key, value in config["space"].items() if key != "name"}
    scores = conditions(Run(sessions=[{**event, "config": config}]), "")
    return space | {key: value for key, value in scores.items() if key.startswith(("proxy_task.", "data "))}
