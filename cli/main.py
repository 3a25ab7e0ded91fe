"""The command line: ``spinesearch search | resume | show | export | proxy | bench | cluster | models | ...``.

Dispatch is on the first word. Everything heavy is imported by the command that needs it, so that ``--help``
answers at once.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spinesearch.cli.parser import build_console, command_parser, fail, interrupt

if TYPE_CHECKING:
    from spinesearch.search.config.run_config import RunConfig

_DEBUG_VARIABLE = "SPINESEARCH_DEBUG"

_USAGE = """usage: spinesearch COMMAND ...

Architecture search for scale-permuted detection backbones.

commands:
  search             start a search, or go on with the one of the same name
  resume             go on with a search that stopped
  show               leaderboard, progress and the best architecture of a run
  export             write the best architectures of a run as JSON specs
  proxy              how far the proxy task's scores can be trusted
  bench              how fast the proxy task is on this machine
  cluster            whether the nodes of a Ray cluster can run a search
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
        "proxy": _proxy,
        "bench": _bench,
        "cluster": _cluster,
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
    from spinesearch.search.config.run_config import compose, run_config, to_yaml

    composed = compose(options.overrides)
    if options.cfg:
        print(to_yaml(composed), end="")
        return 0
    config = run_config(composed)
    from spinesearch.search.runs.run_folder import run_dir_of

    return _carry_out(config, run_dir_of(config))


def _resume(arguments: list[str]) -> int:
    parser = command_parser(
        "resume",
        "Go on with a run, if need be on other workers or with more trials. Nothing finished is repeated.",
        "examples:\n"
        "  spinesearch resume runs/2026-11-23_demo\n"
        "  spinesearch resume runs/2026-11-23_demo search.num_trials=64 search.num_workers=4\n"
        "  spinesearch resume s3://bucket/runs/demo runs_dir=/data/runs",
    )
    parser.add_argument("run", metavar="RUN", help="the run's folder, or the URL of its mirror")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings to change")
    options = parser.parse_intermixed_args(arguments)
    from spinesearch.results.ledger.run import load_run
    from spinesearch.search.config.run_config import to_yaml, with_overrides

    run_dir, overrides = Path(options.run), options.overrides
    if "://" not in options.run:
        run, _ = load_run(run_dir)
    elif options.cfg:
        from spinesearch.search.runs.run_folder import mirrored_run

        run, overrides = mirrored_run(options.run, overrides)
    else:
        from spinesearch.search.runs.run_folder import fetch_run

        run_dir, overrides = fetch_run(options.run, overrides, build_console())
        run, _ = load_run(run_dir)
    if run.study is not None:
        from spinesearch.cli.proxy.proxy import resume_study

        return resume_study(run, run_dir, overrides, only_print=options.cfg)
    config = with_overrides(run.config, overrides)
    del run  # the search reads it again, once it is the run's only writer
    if options.cfg:
        print(to_yaml(config.to_dict()), end="")
        return 0
    return _carry_out(config, run_dir)


def _show(arguments: list[str]) -> int:
    from spinesearch.cli.runs.show import show

    return show(arguments)


def _export(arguments: list[str]) -> int:
    from spinesearch.cli.runs.show import export

    return export(arguments)


def _proxy(arguments: list[str]) -> int:
    from spinesearch.cli.proxy.proxy import proxy

    return proxy(arguments)


def _bench(arguments: list[str]) -> int:
    from spinesearch.cli.proxy.bench import bench

    return bench(arguments)


def _cluster(arguments: list[str]) -> int:
    from spinesearch.cli.proxy.cluster import cluster

    return cluster(arguments)


def _models(arguments: list[str]) -> int:
    from spinesearch.cli.networks.models import models

    return models(arguments)


def _import_checkpoint(arguments: list[str]) -> int:
    from spinesearch.cli.networks.import_checkpoint import import_checkpoint

    return import_checkpoint(arguments)


def _carry_out(config: RunConfig, run_dir: Path) -> int:
    """Search to the end and show what was found."""
    from spinesearch.cli.runs.show import write_exports
    from spinesearch.results.ledger.run import ranked_trials
    from spinesearch.results.tables import leaderboard
    from spinesearch.search.runs.run_folder import give_up_unused, has_run
    from spinesearch.search.scoring.scorer import EngineError
    from spinesearch.search.session import search

    console = build_console()
    signal.signal(signal.SIGTERM, interrupt)
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
    finally:
        give_up_unused(config, run_dir)
    best = ranked_trials(run.trials)
    if not best:
        return fail(f"no candidate completed; `spinesearch show {folder}` tells why", code=1)
    console.print()
    console.print(leaderboard(run, top=min(max(config.search.export_top, 5), len(best))))
    if config.search.export_top:
        write_exports(run, run_dir, config.search.export_top, None)
        if config.mirror is not None:
            from spinesearch.search.watchers.mirror_observer import send_exports

            send_exports(config.mirror, run_dir, console)
    console.print(f"next:\n  spinesearch show {folder}\n  {resume} search.num_trials={2 * len(run.trials)}")
    return 0


def _is_for_people(error: Exception) -> bool:
    """Whether an error was raised for a user to read: by our packages, or by the operating system."""
    return (
        isinstance(error, OSError)
        or type(error).__module__.startswith("spinesearch.")
        or type(error) is ValueError
    )


if __name__ == "__main__":
    raise SystemExit(main())
