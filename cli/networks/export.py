"""``spinesearch export``: the best architectures of a run as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from spinesearch.cli.parser import command_parser
from spinesearch.cli.runs.recorded import read_run

if TYPE_CHECKING:
    from spinesearch.results.ledger.run import Run


def export(arguments: list[str]) -> int:
    """Run ``spinesearch export``; returns its exit code."""
    parser = command_parser(
        "export",
        "Write the best architectures of a run as JSON block specs.",
        'then:\n  python -c "from spinesearch import load_spec, build_backbone; '
        "print(build_backbone(load_spec('FILE')))\"",
    )
    parser.add_argument("run_dir", type=Path, metavar="RUN", help="the run's folder")
    parser.add_argument("--top", type=int, default=3, help="how many (default: 3)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to (default: RUN/export)")
    options = parser.parse_args(arguments)
    run = read_run(options)
    if options.cfg:
        return 0
    if run.study is not None:
        raise ValueError(
            f"{options.run_dir}: is a study, which looks for no architecture; `spinesearch show` prints it"
        )
    write_exports(run, options.run_dir, options.top, options.output)
    return 0


def write_exports(run: Run, run_dir: Path, top: int, output: Path | None) -> None:
    """Export the best architectures of a run, by default into its folder, and print the files' names."""
    from spinesearch.results.export import export_top

    for path in export_top(
        run, top=top, run_name=run_dir.resolve().name, output_dir=output or run_dir / "export"
    ):
        print(f"exported {path}")
