"""``spinesearch export``: the best architectures of a run as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from spinesearch.cli.os_errors import named_files
from spinesearch.cli.parser import command_parser, path_argument
from spinesearch.cli.runs.recorded import find_run, read_run

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
    parser.add_argument("run", metavar="RUN", help="the run's folder, or its name in runs/")
    parser.add_argument("--top", type=int, default=3, help="how many (default: 3)")
    parser.add_argument(
        "-o", "--output", type=path_argument, metavar="DIR", help="where to (default: RUN/export)"
    )
    parser.add_argument(
        "--noise", metavar="STUDY", help="a variance study of the same setting; specs then say the noise"
    )
    options = parser.parse_args(arguments)
    run_dir = find_run(options.run)
    run = read_run(run_dir, options)
    if options.cfg:
        return 0
    if run.study is not None:
        raise ValueError(
            f"{run_dir}: is a study, which exports no architectures; `spinesearch show` prints it"
        )
    with named_files({"--output": options.output or run_dir / "export"}):
        write_exports(run, run_dir, options.top, options.output, options.noise)
    return 0


def write_exports(
    run: Run, run_dir: Path, top: int, output: Path | None, noise_study: str | None = None
) -> None:
    """Export the best architectures of a run, by default into its folder, and print the files' names."""
    noise = None
    if noise_study is not None:
        from spinesearch.results.export.noise import measured_noise
        from spinesearch.results.ledger.run import load_run

        study_dir = find_run(noise_study)
        noise = measured_noise(load_run(study_dir)[0], run, name=study_dir.resolve().name)
    from spinesearch.results.export.specs import export_top

    for path in export_top(
        run,
        top=top,
        run_name=run_dir.resolve().name,
        output_dir=output or run_dir / "export",
        noise=noise,
    ):
        print(f"exported {path}")
