"""``spinesearch doctor``: what a search needs of this machine, and what is missing."""

from __future__ import annotations

import json
from dataclasses import asdict

from spinesearch.cli.parser import build_console, command_parser, path_argument
from spinesearch.cli.runs.recorded import DEFAULT_RUNS_DIR

_STYLES = {"ok": "green", "note": "yellow", "missing": "bold red"}


def doctor(arguments: list[str]) -> int:
    """Run ``spinesearch doctor``; returns its exit code: 1 if no search can run here."""
    parser = command_parser(
        "doctor",
        "Look at this machine and this installation: Python, packages, torch and its GPUs, memory, disks,\n"
        "image decoders, Ray. What is `missing` keeps every search from running, and the exit code is then\n"
        "1; a `note` does not. `spinesearch cluster check` looks at the nodes of a Ray cluster.",
        "examples:\n  spinesearch doctor\n  spinesearch doctor --runs-dir /data/runs --json",
        has_config=False,
    )
    parser.add_argument(
        "--runs-dir",
        type=path_argument,
        metavar="DIR",
        default=DEFAULT_RUNS_DIR,
        help=f"where runs are to go (default: {DEFAULT_RUNS_DIR})",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args(arguments)
    from spinesearch.results.tables import narrow_table
    from spinesearch.search.doctor import examine

    found = list(examine(options.runs_dir))
    can_search = all(one.state != "missing" for one in found)
    if options.json:
        print(json.dumps({"can_search": can_search, "findings": [asdict(one) for one in found]}))
        return 0 if can_search else 1
    from rich.text import Text

    table = narrow_table("what a search needs here")
    table.add_column("", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("", overflow="fold")
    for one in found:
        state = Text(one.state, style=_STYLES[one.state])
        table.add_row(one.what, state, Text("\n".join(filter(None, (one.found, one.advice)))))
    console = build_console()
    console.print(table)
    console.print(
        "ready: `spinesearch search experiment=demo` is a first search"
        if can_search
        else "no search can run here before what is missing is there"
    )
    return 0 if can_search else 1
