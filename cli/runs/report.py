"""``spinesearch report``: one or several searches as one HTML file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from spinesearch.cli.os_errors import named_files
from spinesearch.cli.parser import command_parser, path_argument
from spinesearch.cli.runs.recorded import find_run

if TYPE_CHECKING:
    from spinesearch.results.report.source import Source

_NAME = "report.html"


def report(arguments: list[str]) -> int:
    """Run ``spinesearch report``; returns its exit code."""
    parser = command_parser(
        "report",
        "Write one HTML file of one or several searches: rewards, costs, finalists, what the strategy has\n"
        "learnt, failures and hours, the best architectures drawn. It needs no network and may be sent on.\n"
        "Of a run that goes on it shows what has ended, of a damaged one what can be read.",
        "examples:\n"
        "  spinesearch report 2026-11-23_demo\n"
        "  spinesearch report random_0 bayesian_0 --noise 2026-11-24_variance -o comparison.html",
        has_config=False,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder or its name in runs/")
    parser.add_argument(
        "-o",
        "--output",
        type=path_argument,
        metavar="FILE",
        help=f"the file (default: {_NAME} in the run's folder; of several runs, in the current one)",
    )
    parser.add_argument(
        "--noise", metavar="STUDY", help="a variance study, whose noise the rewards then show"
    )
    options = parser.parse_args(arguments)
    from spinesearch import __version__
    from spinesearch.data.whole_file import write_whole
    from spinesearch.results.report.page import report_page

    folders = list(dict.fromkeys(find_run(text) for text in options.runs))
    sources = [_source(folder, name) for folder, name in zip(folders, _names(folders), strict=True)]
    if options.noise is not None:
        sources = _with_noise(sources, options.noise)
    path: Path = options.output or (folders[0] / _NAME if len(folders) == 1 else Path(_NAME))
    if path.is_dir():
        raise ValueError(f"--output: must be a file, and {path} is a folder; give {path / _NAME}")
    with named_files({"--output": path}):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, report_page(sources, version=__version__))
    for source in sources:
        for note in source.notes:
            print(f"note: {source.name}: {note}")
    print(f"wrote {path}, {path.stat().st_size / 1e6:.1f} MB: open it in a browser")
    return 0


def _source(run_dir: Path, name: str) -> Source:
    from spinesearch.results.report.source import read_source

    with named_files({"RUN": run_dir}):
        source = read_source(run_dir, name=name)
    if source.run.sessions and source.run.kind != "search":
        raise ValueError(
            f"{run_dir}: is a {source.run.kind}, and a report is of searches; `spinesearch show` prints it"
        )
    return source


def _with_noise(sources: list[Source], text: str) -> list[Source]:
    """The runs with the noise that a study has measured under their setting.

    Raises:
        ValueError: it is no such study, or of none of these runs.
    """
    from spinesearch.results.ledger.run import load_run
    from spinesearch.search.study.noise import measured_noise

    study_dir = find_run(text)
    study = load_run(study_dir)[0]
    measured, others = [], []
    for source in sources:
        try:
            noise = (
                measured_noise(study, source.run, name=study_dir.resolve().name)
                if source.run.sessions
                else None
            )
            measured.append(replace(source, noise=noise))
        except ValueError as error:
            others.append(error)
            measured.append(
                replace(source, notes=(*source.notes, f"its rewards have no noise band: {error}"))
            )
    if len(others) == len(sources):
        raise others[0]
    return measured


def _names(folders: list[Path]) -> list[str]:
    """What the runs are called: by their folder, and by its path where two folders have one name."""
    names = [folder.resolve().name for folder in folders]
    return [
        name if names.count(name) == 1 else str(folder) for name, folder in zip(names, folders, strict=True)
    ]
