"""``spinesearch proxy variance | correlate | coverage``: how far the proxy task's scores can be trusted."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from spinesearch.cli.parser import CommandParser, build_console, command_parser, fail, run_subcommand
from spinesearch.cli.runs.carry_out import ending, new_run_dir
from spinesearch.cli.runs.recorded import find_run

if TYPE_CHECKING:
    from rich.console import Console

    from spinesearch.results.ledger.run import Run
    from spinesearch.results.studies.study import Kind
    from spinesearch.search.study.study_config import StudyConfig

_USAGE = """usage: spinesearch proxy variance | correlate | coverage ...

How far the proxy task's scores can be trusted (docs/reward-noise.md).

  variance   random architectures x seeds: the architecture's share of the reward's variance
  correlate  the same architectures under two settings: do they rank alike?
  coverage   which of the five outputs the setting trains; nothing is trained for it

spinesearch proxy variance --help says more.
"""

_CONTINUES = """
With name=NAME it is written to runs/NAME, and the same command continues it, also with more
architectures or seeds; so does `spinesearch resume`. `spinesearch show` prints the report so far."""


def proxy(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    commands = {"variance": _variance, "correlate": _correlate, "coverage": _coverage}
    return run_subcommand("proxy", _USAGE, commands, arguments)


def _coverage(arguments: list[str]) -> int:
    from spinesearch.cli.proxy.coverage import coverage

    return coverage(arguments)


def _variance(arguments: list[str]) -> int:
    parser = command_parser(
        "proxy variance",
        "Train random architectures with several seeds each, as a search would, and show which share of\n"
        f"the variance of every score comes from the architecture.\n{_CONTINUES}",
        "examples:\n"
        "  spinesearch proxy variance --archs 12 --seeds 4 name=noise\n"
        "  spinesearch proxy variance proxy_task.num_steps=400 search.num_workers=8",
    )
    return _study("variance", parser, arguments, num_archs=12, num_seeds=4)


def _correlate(arguments: list[str]) -> int:
    parser = command_parser(
        "proxy correlate",
        "Train the same random architectures under two settings, a and b, with different seeds, and show\n"
        "how alike the two rank them. a.key=value and b.key=value are for one side alone and may change\n"
        "proxy_task and data; without any, the setting is compared with itself, which shows what noise\n"
        f"alone leaves of the agreement.\n{_CONTINUES}",
        "examples:\n"
        "  spinesearch proxy correlate --archs 16 b.proxy_task.num_steps=1000 name=fidelity\n"
        "  spinesearch proxy correlate a.data=generated b.data=coco b.data.train_images=DIR \\\n"
        "      b.data.train_annotations=FILE",
    )
    return _study("correlate", parser, arguments, num_archs=16, num_seeds=1)


def _study(kind: Kind, parser: CommandParser, arguments: list[str], *, num_archs: int, num_seeds: int) -> int:
    help_archs = f"different architectures of the space (default: {num_archs})"
    help_seeds = f"trainings of each, per setting (default: {num_seeds})"
    parser.add_argument("--archs", type=int, default=num_archs, metavar="N", help=help_archs)
    parser.add_argument("--seeds", type=int, default=num_seeds, metavar="M", help=help_seeds)
    parser.add_argument(
        "--reuse",
        action="append",
        default=[],
        metavar="RUN",
        help="reuse what this run scored under the same settings, data, torch and code; may be repeated",
    )
    parser.add_quiet()
    parser.add_overrides("settings, as for a search")
    options = parser.parse_with_overrides(arguments)
    from spinesearch.search.study.study_config import compose_study

    wanted = compose_study(kind, options.overrides, num_archs=options.archs, num_seeds=options.seeds)
    if options.cfg:
        _print_configs(wanted)
        return 0
    reuse = [find_run(text) for text in options.reuse]
    command = shlex.join(["spinesearch", "proxy", kind, *arguments])
    console = build_console(quiet=options.quiet)
    return _carry_out(wanted, new_run_dir(wanted.config), console, command=command, reuse=reuse)


def resume_study(
    run: Run, run_dir: Path, overrides: list[str], console: Console, *, only_print: bool, retries: bool
) -> int:
    """Continue a study, as `spinesearch resume` and `retry` do; ``only_print`` is ``--cfg``."""
    from spinesearch.search.study.study_config import recorded_study

    wanted = recorded_study(run, overrides)
    if only_print:
        _print_configs(wanted)
        return 0
    command = str(run.sessions[-1]["command"])
    return _carry_out(wanted, run_dir, console, command=command, reuse=[], retries=retries)


def _print_configs(wanted: StudyConfig) -> None:
    from spinesearch.search.config.as_yaml import to_yaml

    for side, config in wanted.configs.items():
        print(f"# side {side}\n" if side else "", to_yaml(config.to_dict()), sep="", end="")


def _carry_out(
    wanted: StudyConfig,
    run_dir: Path,
    console: Console,
    *,
    command: str,
    reuse: list[Path],
    retries: bool = False,
) -> int:
    """Train to the end, print the report and save it."""
    from spinesearch.proxy_task.request import DETECTIONS
    from spinesearch.results.studies.study import Study
    from spinesearch.results.studies.study_report import print_report, write_report
    from spinesearch.search.scoring.trial_files import kept_reader
    from spinesearch.search.study.study_session import carry_out_study

    with ending(wanted.config, run_dir, console):
        run = carry_out_study(wanted, run_dir, console, command=command, reuse=reuse, retries=retries)
        study = Study(run, kept_reader(run_dir, DETECTIONS))
        console.print()
        print_report(study, console)
        for path in write_report(study, run_dir):
            console.print(f"wrote {path}")
    for side in study.sides:
        if all(trial.status == "failed" for trial in study.trials(side)):
            of_side = f" of side {side}" if side else ""
            return fail(f"no training{of_side} completed; the reasons are above", code=1)
    return 0
