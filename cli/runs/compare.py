"""``spinesearch compare``: searches beside each other at equal numbers of candidates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spinesearch.cli.parser import build_console, command_parser
from spinesearch.cli.runs.recorded import find_run

if TYPE_CHECKING:
    from spinesearch.results.ledger.run import Run

# What a reward is made of, besides the proxy task.
_REWARD = ("reward_metric", "failed_reward", "cost_target", "cost_weight")


def compare(arguments: list[str]) -> int:
    """Run ``spinesearch compare``; returns its exit code."""
    parser = command_parser(
        "compare",
        "Compare searches at equal numbers of candidates and at equal seconds of training: the best so far,\n"
        "and the mean of the last 50. Runs of one strategy with several seeds are one row, of means with\n"
        "their 95 % intervals. Runs whose rewards say nothing of each other are refused: those of another\n"
        "space, proxy setting, reward or data.",
        "examples:\n"
        "  spinesearch compare runs/random-0 runs/random-1 runs/reinforce-0 runs/reinforce-1\n"
        "  spinesearch compare baseline mine --json",
        has_config=False,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, or its name in runs/")
    parser.add_argument("--force", action="store_true", help="compare runs of different settings too")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    options = parser.parse_args(arguments)
    if len(options.runs) < 2:
        raise ValueError(f"RUN: give two or more to compare, got {options.runs[0]} alone")
    from spinesearch.results.comparison import compared, comparison_lines, comparison_table

    runs = _read(options.runs)
    configs = _configs(runs)
    differences = _differences(runs, configs)
    if differences and not options.force:
        raise ValueError(f"{differences[0]}; their rewards say nothing of each other (--force compares them)")
    found = compared(_by_strategy(runs, configs))
    if options.json:
        print(json.dumps(found.to_dict() | {"differences": differences}))
        return 0
    console = build_console()
    for line in differences:
        console.print(f"warning: {line}", style="yellow")
    console.print(comparison_table(found, by="candidates"))
    if found.seconds:
        console.print(comparison_table(found, by="seconds"))
    for line in [*comparison_lines(found), *_other_code(runs)]:
        console.print(line)
    return 0


def _read(texts: list[str]) -> dict[str, Run]:
    """The searches, by their folders.

    Raises:
        ValueError: one is none, or is given twice.
    """
    from spinesearch.cli.os_errors import named_files
    from spinesearch.results.ledger.run import load_run
    from spinesearch.results.ledger.trial import LONG_FIELDS

    runs: dict[str, Run] = {}
    for text in texts:
        run_dir = find_run(text)
        with named_files({"RUN": run_dir}):
            run, _ = load_run(run_dir, emptied=LONG_FIELDS)
        if run.kind != "search":
            raise ValueError(f"{run_dir}: is a {run.kind}, which has no strategy; give a search")
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
    """The runs of each strategy: those that differ by their seed alone.

    Raises:
        ValueError: two do not differ at all.
    """
    from spinesearch.search.config.settings import FREE_SEARCH_SETTINGS

    def settings(name: str) -> dict[str, Any]:
        config = configs[name]
        free = ("num_trials", *FREE_SEARCH_SETTINGS)
        return {**config["controller"], **{k: v for k, v in config["search"].items() if k not in free}}

    groups: list[list[str]] = []
    for name in runs:
        same = next((group for group in groups if settings(group[0]) == settings(name)), None)
        if same is None:
            groups.append([name])
            continue
        for other in same:
            seed = configs[name]["seed"]
            if configs[other]["seed"] == seed:
                raise ValueError(f"{name}: is the same search as {other}, seed {seed} too")
        same.append(name)
    found: dict[str, dict[str, Run]] = {}
    for group in groups:
        controller = configs[group[0]]["controller"]["name"]
        alike = [g[0] for g in groups if configs[g[0]]["controller"]["name"] == controller]
        here = settings(group[0])
        apart = [k for k in here if any(settings(other).get(k) != here[k] for other in alike)]
        label = " ".join([controller, *(f"{key}={here[key]}" for key in apart)])
        found[label] = {name: runs[name] for name in group}
    return found


def _other_code(runs: Mapping[str, Run]) -> list[str]:
    """A line if the runs were scored by different code or releases of torch."""
    codes = {(run.sessions[0].get("scoring_sources"), run.sessions[0].get("torch")) for run in runs.values()}
    return ["the runs were scored by different code or releases of torch"] if len(codes) > 1 else []
