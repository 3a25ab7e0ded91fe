"""The command line: ``spinesearch search | resume | show | export | models | import-checkpoint``.

Dispatch is on the first word. Everything heavy is imported by the command that needs it, so that ``--help``
answers at once.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from spinesearch.search.cli_parser import build_console, command_parser, fail

if TYPE_CHECKING:
    from spinesearch.results.run import Run
    from spinesearch.search.config import RunConfig

_DEBUG_VARIABLE = "SPINESEARCH_DEBUG"

_USAGE = """usage: spinesearch COMMAND ...

Architecture search for scale-permuted detection backbones.

commands:
  search             start a search, or go on with the one of the same name
  resume             go on with a search that stopped
  show               leaderboard, progress and the best architecture of a run
  export             write the best architectures of a run as JSON specs
  models             the published models: parameters, multiply-adds, AP
  import-checkpoint  a released TensorFlow checkpoint as safetensors

spinesearch COMMAND --help says more. spinesearch --version prints the release.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code: 1 if a search cannot go on, 2 for bad input, 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    commands: dict[str, Callable[[list[str]], int]] = {
        "search": _search,
        "resume": _resume,
        "show": _show,
        "export": _export,
        "models": _models,
        "import-checkpoint": _import_checkpoint,
    }
    word = arguments[0] if arguments else "--help"
    if word in ("--help", "-h", "help"):
        print(_USAGE, end="")
        return 0 if arguments else 2
    if word == "--version":
        from spinesearch import __version__

        print(f"spinesearch {__version__}")
        return 0
    if word not in commands:
        import difflib

        near = difflib.get_close_matches(word, commands, n=1)
        hint = f"did you mean {near[0]}?" if near else f"commands are {', '.join(commands)}"
        return fail(f"{word}: there is no such command; {hint}")
    try:
        return commands[word](arguments[1:])
    except KeyboardInterrupt:
        return fail("interrupted", code=130)
    except BrokenPipeError:  # the reader of our output has gone, as in `spinesearch show RUN | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        # Bad input: every package raises a ValueError of its own for it, with a message meant for people.
        if os.environ.get(_DEBUG_VARIABLE) or not _is_for_people(error):
            raise
        return fail(" ".join(str(error).split()))


def _search(arguments: list[str]) -> int:
    parser = command_parser(
        "search",
        "Start a search. With name=NAME it goes to runs/NAME, and the same command continues it.",
        "examples:\n"
        "  spinesearch search experiment=demo\n"
        "  spinesearch search data=coco data.train_images=DIR data.train_annotations=FILE\n"
        "  spinesearch search controller=random search.num_workers=8 name=baseline\n\n"
        "groups: space=spinenet|spinenet_cloud|spinenet_v2|spinenet_mbconv\n"
        "              |r0_sp53|r14_sp39|r23_sp30|r35_sp18|hourglass|fish\n"
        "        proxy_task=small|paper  controller=reinforce|random  data=generated|coco\n"
        "        experiment=demo|paper. --cfg prints every setting with its value.",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings to change, in hydra's grammar"
    )
    options = parser.parse_intermixed_args(arguments)
    from spinesearch.search.config import compose, run_config, to_yaml

    composed = compose(options.overrides)
    if options.cfg:
        print(to_yaml(composed), end="")
        return 0
    config = run_config(composed)
    from spinesearch.search.session import run_dir_of

    return _carry_out(config, run_dir_of(config))


def _resume(arguments: list[str]) -> int:
    parser = command_parser(
        "resume",
        "Go on with a run, if need be on other workers or with more trials. Nothing finished is repeated.",
        "examples:\n"
        "  spinesearch resume runs/2026-11-23_demo\n"
        "  spinesearch resume runs/2026-11-23_demo search.num_trials=64 search.num_workers=4",
    )
    parser.add_argument("run_dir", type=Path, metavar="RUN", help="the run's folder")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings to change")
    options = parser.parse_intermixed_args(arguments)
    from spinesearch.results.run import load_run
    from spinesearch.search.config import to_yaml, with_overrides

    run, _ = load_run(options.run_dir)
    config = with_overrides(run.config, options.overrides)
    if options.cfg:
        print(to_yaml(config.to_dict()), end="")
        return 0
    return _carry_out(config, options.run_dir)


def _show(arguments: list[str]) -> int:
    parser = command_parser(
        "show",
        "Print how far a run is, its best architectures, and the best one drawn; or draw a spec file.",
        "examples:\n  spinesearch show runs/2026-11-23_demo\n  spinesearch show spec.json",
    )
    parser.add_argument("run_dir", type=Path, metavar="RUN", help="the run's folder, or a JSON spec")
    parser.add_argument("--top", type=int, default=10, help="rows of the leaderboard (default: 10)")
    options = parser.parse_args(arguments)
    if options.run_dir.suffix == ".json":
        return _show_spec(options.run_dir)
    run = _load(options)
    if options.cfg:
        return 0
    from spinesearch.results.run import ranked_trials
    from spinesearch.results.tables import failures, leaderboard, progress, status_line
    from spinesearch.space import draw_spec

    if options.top < 1:
        raise ValueError(f"--top: must be at least 1, got {options.top}")
    console = build_console()
    console.print(status_line(run))
    failed = failures(run)
    if failed is not None:
        console.print(failed)
    best = ranked_trials(run.trials)
    if not best:
        console.print("no candidate has completed yet")
        return 0
    console.print()
    console.print(progress(run))
    console.print(leaderboard(run, top=min(options.top, len(best))))
    console.print(f"the best, trial {best[0].trial} ({best[0].arch_id}):\n")
    console.print(draw_spec(run.spec(best[0]), max_width=console.width))
    return 0


def _show_spec(path: Path) -> int:
    """Draw the architecture of a spec file."""
    from spinesearch.space import draw_spec, load_spec

    spec = load_spec(path)
    console = build_console()
    console.print(f"{spec.name or path.stem} ({spec.arch_id})\n")
    console.print(draw_spec(spec, max_width=console.width))
    return 0


def _export(arguments: list[str]) -> int:
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
    run = _load(options)
    if options.cfg:
        return 0
    _write_exports(run, options.run_dir, options.top, options.output)
    return 0


def _models(arguments: list[str]) -> int:
    from spinesearch.search.cli_models import models

    return models(arguments)


def _import_checkpoint(arguments: list[str]) -> int:
    from spinesearch.search.cli_weights import import_checkpoint

    return import_checkpoint(arguments)


def _carry_out(config: RunConfig, run_dir: Path) -> int:
    """Search to the end and show what was found."""
    from spinesearch.results.run import ranked_trials
    from spinesearch.results.tables import leaderboard
    from spinesearch.search.scorer import EngineError
    from spinesearch.search.session import has_run, search

    console = build_console()
    signal.signal(signal.SIGTERM, _interrupt)
    folder = shlex.quote(str(run_dir))
    resume = f"spinesearch resume {folder}"
    try:
        run = search(config, run_dir, console)
    except KeyboardInterrupt:
        if has_run(run_dir):
            console.print(f"stopped; nothing finished is lost. Go on with:\n  {resume}")
        return 130
    except EngineError as error:
        return fail(f"{error} (then: {resume})", code=1)
    best = ranked_trials(run.trials)
    if not best:
        return fail(f"no candidate completed; `spinesearch show {folder}` tells why", code=1)
    console.print()
    console.print(leaderboard(run, top=min(max(config.search.export_top, 5), len(best))))
    if config.search.export_top:
        _write_exports(run, run_dir, config.search.export_top, None)
    console.print(f"next:\n  spinesearch show {folder}\n  {resume} search.num_trials={2 * len(run.trials)}")
    return 0


def _write_exports(run: Run, run_dir: Path, top: int, output: Path | None) -> None:
    from spinesearch.results.export import export_top

    for path in export_top(
        run, top=top, run_name=run_dir.resolve().name, output_dir=output or run_dir / "export"
    ):
        print(f"exported {path}")


def _load(options: argparse.Namespace) -> Run:
    """The run of a command that only reads; prints its configuration if that is asked for."""
    from spinesearch.results.run import load_run

    run, torn = load_run(options.run_dir)
    if options.cfg:
        from spinesearch.search.config import to_yaml

        print(to_yaml(run.config), end="")
    elif torn:
        print(f"warning: {torn} (by this reader; the file is as it was)", file=sys.stderr)
    return run


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM, which clusters send before they take a machine, ends a search as Ctrl-C does."""
    raise KeyboardInterrupt


def _is_for_people(error: Exception) -> bool:
    """Whether an error was raised for a user to read: by our packages, or by the operating system."""
    return (
        isinstance(error, OSError)
        or type(error).__module__.startswith("spinesearch.")
        or type(error) is ValueError
    )


if __name__ == "__main__":
    raise SystemExit(main())
