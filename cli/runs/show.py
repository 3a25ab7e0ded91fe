"""``spinesearch show``: what a run has found, on the console."""

from __future__ import annotations

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
        "Print how far a run is, its best architectures, and the best one drawn; or draw a spec file.",
        "examples:\n"
        "  spinesearch show 2026-11-23_demo\n"
        "  spinesearch show /data/runs/demo --top 20\n"
        "  spinesearch show spec.json",
    )
    parser.add_argument("run", metavar="RUN", help="the run's folder or its name in runs/, or a JSON spec")
    parser.add_argument("--top", type=int, default=10, help="rows of the leaderboard (default: 10)")
    options = parser.parse_args(arguments)
    if _is_spec(options.run):
        return _show_spec(Path(options.run))
    run_dir = find_run(options.run)
    run = read_run(run_dir, options)
    if options.cfg:
        return 0
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

    if options.top < 1:
        raise ValueError(f"--top: must be at least 1, got {options.top}")
    console = build_console()
    if run.training is not None:
        from spinesearch.results.training_table import measurement_table, training_status

        console.print(training_status(run))
        if run.measurements:
            console.print(measurement_table(run))
        return 0
    if run.study is not None:
        from spinesearch.proxy_task.request import DETECTIONS
        from spinesearch.results.studies.study import Study
        from spinesearch.results.studies.study_report import arch_table, print_report
        from spinesearch.search.scoring.trial_files import kept_reader

        study = Study(run, kept_reader(run_dir, DETECTIONS))
        print_report(study, console)
        console.print(arch_table(study, top=options.top))
        lost = lost_attempts(run)
        if lost is not None:
            console.print(lost)
        return 0
    console.print(status_line(run))
    if line := coverage_line(run):
        console.print(line)
    for table in (failures(run), lost_attempts(run)):
        if table is not None:
            console.print(table)
    best = final_ranking(run)
    if not best:
        console.print("no candidate has completed yet")
        return 0
    console.print()
    console.print(progress(run))
    if (table := rung_table(run)) is not None:
        console.print(table)
    print_best(run, console, top=min(options.top, len(best)))
    for cost in COSTS:
        if (table := pareto_table(run, cost=cost)) is not None:
            console.print(table)
    console.print(f"the best, trial {best[0].trial} ({best[0].arch_id}):\n")
    console.print(draw_spec(run.spec(best[0]), max_width=console.width))
    return 0


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
