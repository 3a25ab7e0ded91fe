"""``spinesearch ls``: the runs in a folder, with what each is doing."""

from __future__ import annotations

import json
from pathlib import Path

from spinesearch.cli.os_errors import named_files
from spinesearch.cli.parser import build_console, command_parser, path_argument
from spinesearch.cli.runs.recorded import DEFAULT_RUNS_DIR, runs_in


def ls(arguments: list[str]) -> int:
    """Run ``spinesearch ls``; returns its exit code."""
    parser = command_parser(
        "ls",
        "List the searches, studies and trainings in a folder, latest first: state, progress, best, age.\n"
        "running: a process carries the run out, by its lease; complete: nothing is left to do; stopped:\n"
        "something is left, and `spinesearch resume` goes on; damaged: its ledger cannot be read.",
        "examples:\n  spinesearch ls\n  spinesearch ls /data/runs --json",
        has_config=False,
    )
    parser.add_argument(
        "folder",
        type=path_argument,
        metavar="FOLDER",
        nargs="?",
        default=DEFAULT_RUNS_DIR,
        help=f"where the runs are, or one run's folder (default: {DEFAULT_RUNS_DIR})",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    options = parser.parse_args(arguments)
    from spinesearch.results.ledger.ledger import LEDGER_NAME
    from spinesearch.results.overview import overview, overview_table

    folder: Path = options.folder
    if folder != DEFAULT_RUNS_DIR and not folder.is_dir():
        raise ValueError(f"FOLDER: {folder} is not a folder; give the one that holds the runs")
    is_run = (folder / LEDGER_NAME).exists()
    with named_files({"FOLDER": folder}):
        found = [overview(path) for path in ([folder] if is_run else runs_in(folder))]
    if options.json:
        print(json.dumps([one.to_dict() for one in found]))
        return 0
    console = build_console()
    if not found:
        console.print(f"{folder}: holds no runs; `spinesearch search` begins one")
        return 0
    console.print(overview_table(found, title=str(folder), width=console.width))
    for one in found:
        if one.problem:
            console.print(f"{one.run}: {one.problem}")
    return 0
