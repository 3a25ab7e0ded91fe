"""``spinesearch compare``: searches beside each other at equal numbers of candidates, or trainings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spinesearch.cli.parser import build_console, command_parser
from spinesearch.cli.runs.recorded import find_run

if TYPE_CHECKING:
    from spinesearch.results.comparison import Comparison
    from spinesearch.results.ledger.run import Run
    from spinesearch.results.training_comparison import TrainingComparison

# What a reward is made of, besides the proxy task.
_REWARD = ("reward_metric", "failed_reward", "cost_target", "cost_weight")


def compare(arguments: list[str]) -> int:
    """Run ``spinesearch compare``; returns its exit code."""
    parser = command_parser(
        "compare",
        "Compare searches at equal numbers of candidates and at equal seconds of training: the best so far,\n"
        "and the mean of the last 50; or trainings: their scores at the end. Runs of one strategy, or of\n"
        "one model and recipe, with several seeds are one row, of means with their 95 % intervals. Runs\n"
        "whose figures say nothing of each other are refused: searches of another space, proxy setting,\n"
        "reward or data, and trainings on other data.",
        "examples:\n"
        "  spinesearch compare runs/random-0 runs/random-1 runs/reinforce-0 runs/reinforce-1\n"
        "  spinesearch compare baseline mine --json\n"
        "  spinesearch compare runs/spinenet49-0 runs/spinenet49-1 runs/found-0 runs/found-1",
        has_config=False,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, or its name in runs/")
    parser.add_argument("--force", action="store_true", help="compare runs of different settings too")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    options = parser.parse_args(arguments)
    if len(options.runs) < 2:
        raise ValueError(f"RUN: give two or more to compare, got {options.runs[0]} alone")
    from spinesearch.results.comparison import compared, comparison_lines, comparison_table
    from spinesearch.results.training_comparison import (
        compared_trainings,
        training_comparison_lines,
        training_comparison_table,
    )

    runs = _read(options.runs)
    found: Comparison | TrainingComparison
    if next(iter(runs.values())).kind == "training":
        differences = _other_data(runs)
        _refuse(differences, options.force, "scores")
        found = compared_trainings(_by_model(runs))
        tables, lines = [training_comparison_table(found)], training_comparison_lines(found)
    else:
        configs = _configs(runs)
        differences = _differences(runs, configs)
        _refuse(differences, options.force, "rewards")
        found = compared(_by_strategy(runs, configs))
        tables, lines = [comparison_table(found, by="candidates")], comparison_lines(found)
        if found.seconds:
            tables.append(comparison_table(found, by="seconds"))
    if options.json:
        print(json.dumps(found.to_dict() | {"differences": differences}))
        return 0
    from spinesearch.search.warn import warn

    console = build_console()
    for line in differences:
        warn(console, line)
    for table in tables:
        console.print(table)
    for line in [*lines, *_other_code(runs)]:
        console.print(line)
    return 0


def _refuse(differences: Sequence[str], force: bool, figures: str) -> None:
    if differences and not force:
        raise ValueError(
            f"{differences[0]}; their {figures} say nothing of each other (--force compares them)"
        )


def _read(texts: list[str]) -> dict[str, Run]:
    """The searches or trainings, by their folders.

    Raises:
        ValueError: one is neither or is given twice, or there are some of both.
    """
    from spinesearch.cli.os_errors import named_files
    from spinesearch.results.ledger.run import load_run
    from spinesearch.results.ledger.trial import LONG_FIELDS

    runs: dict[str, Run] = {}
    for text in texts:
        run_dir = find_run(text)
        with named_files({"RUN": run_dir}):
            run, _ = load_run(run_dir, emptied=LONG_FIELDS)
        if run.kind == "study":
            raise ValueError(f"{run_dir}: is a study; give searches, or trainings")
        kind = next(iter(runs.values()), run).kind
        if run.kind != kind:
            raise ValueError(f"{run_dir}: is a {run.kind}, and the first is a {kind}; give runs of one kind")
        if str(run_dir) in runs:
            raise ValueError(f"{run_dir}: is given twice")
        runs[str(run_dir)] = run
    return runs


def _configs(runs: Mapping[str, Run]) -> dict[str, dict[str, Any]]:
    """The configurations, in which older ledgers have what they did before a setting came.

    The section of a strategy that is none of ours, as a script brings it, is as recorded.

    Raises:
        ValueError: one is not of this release.
    """
    from spinesearch.controller.strategies import STRATEGIES
    from spinesearch.search.config.run_config import ConfigError, run_config

    configs = {}
    for name, run in runs.items():
        recorded = run.config["controller"]
        is_ours = recorded.get("name") in STRATEGIES
        controller = recorded if is_ours else {"name": "random"}
        try:
            config = run_config({**run.config, "controller": controller}).to_dict()
        except ConfigError as error:
            raise ValueError(f"{name}: {error}") from error
        configs[name] = config if is_ours else {**config, "controller": {"name": "unnamed", **recorded}}
    return configs


def _differences(runs: Mapping[str, Run], configs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """By what each run's rewards cannot be compared with the first one's, a line for each run of which so."""
    from spinesearch.proxy_task.settings import ProxySettings
    from spinesearch.search.config.run_config import FREE_PROXY_SETTINGS

    def deciding(name: str) -> dict[str, Any]:
        config = configs[name]
        settings = {f"space.{key}": value for key, value in config["space"].items()}
        settings |= {f"search.{key}": config["search"][key] for key in _REWARD}
        proxy = ProxySettings.recorded(config["proxy_task"]).items()
        settings |= {f"proxy_task.{key}": value for key, value in proxy if key not in FREE_PROXY_SETTINGS}
        return settings | {"data (key)": runs[name].sessions[0]["data"]["key"]}

    first, *others = runs
    ours, lines = deciding(first), []
    for name in others:
        theirs = deciding(name)
        differs = [
            f"{key} is {theirs.get(key)!r}, there {ours.get(key)!r}"
            for key in {**ours, **theirs}
            if ours.get(key) != theirs.get(key)
        ]
        if differs:
            more = f" and {len(differs) - 3} more" if len(differs) > 3 else ""
            lines.append(f"{name} differs from {first}: {', '.join(differs[:3])}{more}")
    return lines


def _by_strategy(
    runs: Mapping[str, Run], configs: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Run]]:
    """The searches of each strategy: those that differ by their seed alone.

    Raises:
        ValueError: two do not differ at all.
    """
    from spinesearch.search.config.settings import FREE_SEARCH_SETTINGS

    free = ("num_trials", *FREE_SEARCH_SETTINGS)
    settings = {
        name: {**config["controller"], **{k: v for k, v in config["search"].items() if k not in free}}
        for name, config in configs.items()
    }
    return _grouped(runs, settings, {name: config["controller"]["name"] for name, config in configs.items()})


def _by_model(runs: Mapping[str, Run]) -> dict[str, dict[str, Run]]:
    """The trainings of each model by one recipe: those that differ by their seed alone.

    Raises:
        ValueError: two do not differ at all, or a configuration is not of this release.
    """
    from spinesearch.search.config.config_errors import ConfigError
    from spinesearch.search.training.train_config import identity_settings, train_config

    settings, names = {}, {}
    for name, run in runs.items():
        assert run.training is not None
        network = run.training["model"]
        try:
            config = train_config(run.config)
        except ConfigError as error:
            raise ValueError(f"{name}: {error}") from error
        sizes = network["model"]  # as they were built, where settings may be null
        recipe = identity_settings(config).items()
        settings[name] = {
            "arch_id": network.get("arch_id"),
            **sizes,
            **{k: v for k, v in recipe if k != "seed" and k.removeprefix("train.") not in sizes},
            "init_from": config.init_from,
        }
        names[name] = run.training["name"]
    return _grouped(runs, settings, names)


def _grouped(
    runs: Mapping[str, Run], settings: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]
) -> dict[str, dict[str, Run]]:
    """The runs of equal settings together, by their name and what sets them apart from others of that name.

    Raises:
        ValueError: two of them have one seed, too.
    """
    groups: list[list[str]] = []
    for run in runs:
        same = next((group for group in groups if settings[group[0]] == settings[run]), None)
        if same is None:
            groups.append([run])
            continue
        for other in same:
            if (seed := runs[run].config["seed"]) == runs[other].config["seed"]:
                raise ValueError(f"{run}: is the same {runs[run].kind} as {other}, seed {seed} too")
        same.append(run)
    found: dict[str, dict[str, Run]] = {}
    for group in groups:
        here, name = settings[group[0]], names[group[0]]
        alike = [settings[other[0]] for other in groups if names[other[0]] == name]
        apart = [key for key in here if any(other.get(key) != here[key] for other in alike)]
        label = " ".join([name, *(f"{key}={here[key]}" for key in apart)])
        found[label] = {run: runs[run] for run in group}
    return found


def _other_data(runs: Mapping[str, Run]) -> list[str]:
    """A line for each training whose data are not the first one's."""
    keys = {name: run.sessions[0]["data"]["key"] for name, run in runs.items()}
    first, *others = keys
    return [
        f"{name} differs from {first}: data (key) is {keys[name]!r}, there {keys[first]!r}"
        for name in others
        if keys[name] != keys[first]
    ]


def _other_code(runs: Mapping[str, Run]) -> list[str]:
    """A line if the runs were scored by different code or releases of torch."""
    codes = {(run.sessions[0].get("scoring_sources"), run.sessions[0].get("torch")) for run in runs.values()}
    return ["the runs were scored by different code or releases of torch"] if len(codes) > 1 else []
