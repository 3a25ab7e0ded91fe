"""``spinesearch cluster check``: what a search would find on a Ray cluster; trains on every node."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spinesearch.cli.parser import build_console, command_parser, fail, run_subcommand

if TYPE_CHECKING:
    from rich.table import Table

    from spinesearch.search.config.run_config import RunConfig
    from spinesearch.search.workers.cluster_check import NodeReport

_USAGE = """usage: spinesearch cluster check ...

  check   connect, list the nodes, and check each: versions, data, and a training of a few steps

spinesearch cluster check --help says more.
"""
_NUM_STEPS = 5
_MAX_DEAD = 5  # dead nodes named; a cluster of spot machines has many
_PATIENCE_S = 60.0  # a node starts a process within seconds; torch from a slow disk can take most of a minute


def cluster(arguments: list[str]) -> int:
    """Run the command; returns its exit code: 1 if a node cannot be used."""
    return run_subcommand("cluster", _USAGE, {"check": _check}, arguments)


def _check(arguments: list[str]) -> int:
    parser = command_parser(
        "cluster check",
        "Connect to Ray as a search with these settings would, and check every node: its versions, whether\n"
        "it sees the data, and its rate, for which one worker trains SpineNet-49 there for --steps steps.\n"
        "A node without a pack of the data makes it first, as a search would. The exit code is 1 if a node\n"
        "with room for a worker cannot be used, or if no node has room.",
        "examples:\n"
        "  spinesearch cluster check search.ray_address=auto\n"
        "  spinesearch cluster check search.ray_address=10.0.0.1:6379 proxy_task=paper data=coco \\\n"
        "      data.train_images=DIR data.train_annotations=FILE",
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=_NUM_STEPS,
        metavar="N",
        help=f"steps to train on each node (default: {_NUM_STEPS})",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=_PATIENCE_S,
        metavar="S",
        help=f"seconds a node may take to find a place for the check (default: {_PATIENCE_S:g})",
    )
    parser.add_overrides("settings, as for a search")
    options = parser.parse_with_overrides(arguments)
    if options.steps < 1:
        return fail(f"--steps: must be at least 1, got {options.steps}")
    if not options.timeout > 0:
        return fail(f"--timeout: must be positive, got {options.timeout:g}")
    from spinesearch.search.config.run_config import compose, composed_yaml, run_config

    if options.cfg:
        print(composed_yaml(options.overrides), end="")
        return 0
    return _check_cluster(
        run_config(compose(options.overrides)), num_steps=options.steps, patience_s=options.timeout
    )


def _check_cluster(config: RunConfig, *, num_steps: int, patience_s: float) -> int:
    from spinesearch.search.engine import open_run_data
    from spinesearch.search.environment import versions
    from spinesearch.search.workers.cluster_check import check_nodes, open_short_score
    from spinesearch.search.workers.ray_cluster import connected
    from spinesearch.search.workers.trial_resources import cluster_nodes, trial_resources

    console = build_console()
    settings = config.search
    with connected(settings.ray_address, num_cpus=None):
        resources = trial_resources(
            settings.cpus_per_trial, config.gpus_per_worker, settings.resources_per_trial, may_grow=True
        )
        data = open_run_data(config, console)
        proxy_task = resources.placed(config.proxy_task)
        nodes = cluster_nodes()
        num_alive = sum(node["Alive"] for node in nodes)
        console.print(f"here: {versions()}; data key {data.key}")
        console.print(
            f"training for {num_steps} steps on each of {num_alive} nodes; a worker needs {resources}"
        )
        reports = check_nodes(
            nodes,
            functools.partial(open_short_score, proxy_task, config.data, data.key, num_steps),
            resources,
            seed=config.seed,
            patience_s=patience_s,
            report=lambda node: console.print(node_line(node)),
        )
    console.print()
    console.print(nodes_table(reports))
    dead = [node["NodeManagerAddress"] for node in nodes if not node["Alive"]]
    if dead:
        console.print(
            f"dead, and left out: {', '.join(dead[:_MAX_DEAD])}{' ...' if len(dead) > _MAX_DEAD else ''}"
        )
    line, code = verdict(reports)
    console.print(line)
    return code


def node_line(report: NodeReport) -> str:
    """One node's result in a line, as soon as it is known."""
    if report.problem:
        return f"{report.name}: {report.problem}"
    if report.images_per_s is None:
        return f"{report.name}: no room for a worker"
    return f"{report.name}: {report.images_per_s:.0f} images/s"


def nodes_table(reports: Sequence[NodeReport]) -> Table:
    """The nodes: name, processors, GPUs, versions as seen there, data, workers, rate of one."""
    from rich.text import Text

    from spinesearch.results.tables import narrow_table

    table = narrow_table("nodes")
    table.add_column("node", overflow="fold")
    for name in ("CPU", "GPU"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("Ray", "Python", "torch", "spinesearch", "data"):
        table.add_column(name, no_wrap=True)
    for name in ("workers", "images/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for report in reports:
        facts = report.facts
        versions = (facts.ray, facts.python, facts.code.torch, facts.code.version) if facts else ("?",) * 4
        table.add_row(
            Text(report.name),
            f"{report.cpus:g}",
            f"{report.gpus:g} {report.gpu_kind if report.gpus else ''}".rstrip(),
            *versions,
            {True: "yes", False: "no", None: ""}[report.sees_data],
            str(report.num_workers),
            "" if report.images_per_s is None else f"{report.images_per_s:.0f}",
        )
    return table


def verdict(reports: Sequence[NodeReport]) -> tuple[str, int]:
    """The conclusion from the reports in a line, and the command's exit code."""
    bad = [report for report in reports if report.problem]
    good = [report for report in reports if report.images_per_s is not None]
    num_workers = sum(report.num_workers for report in good)
    if bad:
        names = ", ".join(report.name for report in bad)
        return f"not ready: {len(bad)} of {len(reports)} nodes cannot be used: {names}", 1
    if not good:
        return "not ready: no node has room for a worker; lower search.cpus_per_trial and gpus_per_trial", 1
    rate = sum(report.num_workers * (report.images_per_s or 0.0) for report in good)
    text = f"ready: {len(good)} of {len(reports)} nodes run {num_workers} workers"
    return f"{text}, {rate:.0f} images/s in all if each is as fast beside the others", 0
