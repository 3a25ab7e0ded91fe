"""``spinesearch show``: what a run has found, on the console."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from spinesearch.cli.parser import build_console, command_parser
from spinesearch.cli.runs.recorded import find_run, named_run, read_run

if TYPE_CHECKING:
    from rich.console import Console

    from spinesearch.results.ledger.run import Run


def show(arguments: list[str]) -> int:
    """Run ``spinesearch show``; returns its exit code."""
    parser = command_parser(
        "show",
        "Print how far a run is, its best architectures, and the best one drawn; or draw a spec file.\n"
        "--follow prints what a run records as it comes, also from the folder of a run on another machine,\n"
        "and ends with Ctrl-C or when the run is complete.",
        "examples:\n"
        "  spinesearch show 2026-11-23_demo\n"
        "  spinesearch show /data/runs/demo --top 20\n"
        "  spinesearch show 2026-11-23_demo --csv > candidates.csv\n"
        "  spinesearch show spec.json",
    )
    parser.add_argument("run", metavar="RUN", help="the run's folder or its name in runs/, or a JSON spec")
    parser.add_argument("--top", type=int, default=10, help="rows of the leaderboard (default: 10)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("-f", "--follow", action="store_true", help="print new lines as they come")
    form.add_argument("--json", action="store_true", help="print one JSON object: state, configuration, best")
    form.add_argument("--csv", action="store_true", help="print a row for each candidate, or measurement")
    options = parser.parse_args(arguments)
    if options.top < 1:
        raise ValueError(f"--top: must be at least 1, got {options.top}")
    if _is_spec(options.run):
        if options.follow or options.json or options.csv:
            raise ValueError(f"RUN: {options.run} is a spec file, and these options are for a run")
        return _show_spec(Path(options.run))
    run_dir = find_run(options.run)
    console = build_console()
    if options.follow and not options.cfg:
        from spinesearch.cli.runs.follow import follow

        try:
            run = follow(run_dir, console)
        except KeyboardInterrupt:  # which is how one stops looking
            return 0
        _print_run(run, run_dir, console, top=options.top)
        return 0
    run = read_run(run_dir, options)
    if options.cfg:
        return 0
    if options.json or options.csv:
        from spinesearch.results.records import record, rows, write_csv

        if options.csv:
            write_csv(rows(run), sys.stdout)
        else:
            print(json.dumps(record(run, run_dir, top=options.top)))
        return 0
    _print_run(run, run_dir, console, top=options.top)
    return 0


def _print_run(run: Run, run_dir: Path, console: Console, *, top: int) -> None:
    """Print how far a run is, and what it has found."""
    from spinesearch.results.finalists import final_ranking
    from spinesearch.results.pareto import COSTS, pareto_table
    from spinesearch.results.rungs import rung_table
    from spinesearch.results.tables import (
        coverage_line,
        failures,
        lost_attempts,
        progress,
        status_line,
    )
    from spinesearch.space import draw_spec

    if run.training is not None:
        from spinesearch.results.training_table import measurement_table, training_status

        console.print(training_status(run))
        if run.measurements:
            console.print(measurement_table(run))
        return
    if run.study is not None:
        from spinesearch.proxy_task.request import DETECTIONS
        from spinesearch.results.studies.study import Study
        from spinesearch.results.studies.study_report import arch_table, print_report
        from spinesearch.search.scoring.trial_files import kept_reader

        study = Study(run, kept_reader(run_dir, DETECTIONS))
        print_report(study, console)
        console.print(arch_table(study, top=top))
        lost = lost_attempts(run)
        if lost is not None:
            console.print(lost)
        return
    console.print(status_line(run))
    if line := coverage_line(run):
        console.print(line)
    for table in (failures(run), lost_attempts(run)):
        if table is not None:
            console.print(table)
    best = final_ranking(run)
    if not best:
        console.print("no candidate has completed yet")
        return
    console.print()
    console.print(progress(run))
    if (table := rung_table(run)) is not None:
        console.print(table)
    print_best(run, console, top=min(top, len(best)))
    for cost in COSTS:
        if (table := pareto_table(run, cost=cost)) is not None:
            console.print(table)
    console.print(f"the best, trial {best[0].trial} ({best[0].arch_id}):\n")
    console.print(draw_spec(run.spec(best[0]), max_width=console.width))


def print_best(run: Run, console: Console, *, top: int) -> None:
    """Print the leaderboard, after that of the finalists if the best were ranked again."""
    from spinesearch.results.finalists import finished_rerank
    from spinesearch.results.tables import finalist_lines, finalists, leaderboard, rerank_line

    if line := rerank_line(run):
        console.print(line)
    if (rerank := finished_rerank(run)) is not None:
        console.print(finalists(run, rerank))
        for line in finalist_lines(run, rerank):
            console.print(line)
        console.print()
    console.print(leaderboard(run, top=top))


def _is_spec(text: str) -> bool:
    """Whether a spec file is meant, and no run that is called so."""
    path = Path(text)
    return path.suffix == ".json" and not path.is_dir() and (path.exists() or not named_run(text).is_dir())


def _show_spec(path: Path) -> int:
    """Draw the architecture of a spec file."""
    from spinesearch.space import draw_spec, load_spec

    spec = load_spec(path)
    console = build_console()
    console.print(f"{spec.name or path.stem} ({spec.arch_id})\n")
    console.print(draw_spec(spec, max_width=console.width))
    return 0
