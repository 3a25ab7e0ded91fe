"""The command line: ``spinesearch search | resume | show | export | proxy | bench | cluster | models | ...``.

Dispatch is on the first word. Everything heavy is imported by the command that needs it, so that ``--help``
answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from spinesearch.cli.parser import fail

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
    from spinesearch.cli.runs.search import search

    return search(arguments)


def _resume(arguments: list[str]) -> int:
    from spinesearch.cli.runs.resume import resume

    return resume(arguments)


def _show(arguments: list[str]) -> int:
    from spinesearch.cli.runs.show import show

    return show(arguments)


def _export(arguments: list[str]) -> int:
    from spinesearch.cli.networks.export import export

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


def _is_for_people(error: Exception) -> bool:
    """Whether an error was raised for a user to read: by our packages, or by the operating system."""
    return (
        isinstance(error, OSError)
        or type(error).__module__.startswith("spinesearch.")
        or type(error) is ValueError
    )


if __name__ == "__main__":
    raise SystemExit(main())
