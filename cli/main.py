"""The command line: ``spinesearch search | resume | show | rerank | export | proxy | ...``.

Dispatch is on the first word. Everything heavy is imported by the command that needs it, so that ``--help``
answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from spinesearch.cli.os_errors import os_error_line
from spinesearch.cli.output import guarded_output
from spinesearch.cli.parser import Command, CommandError, fail

_DEBUG_VARIABLE = "SPINESEARCH_DEBUG"

_USAGE = """usage: spinesearch COMMAND ...

Architecture search for scale-permuted detection backbones.

a search:
  search             start a search, or continue the one of the same name
  resume             continue a run that stopped
  retry              try what failed in a run again, and continue it
  stop               end a run cleanly, wherever it runs; resume continues it
  rerank             train the best of a run longer with new seeds, and rank them again

what it has found:
  ls                 the runs in a folder: state, progress, best, age
  show               leaderboard, progress and the best architecture of a run; follow it
  compare            searches at equal numbers of candidates, strategy by strategy
  report             one HTML file of one or several searches: plots, finalists, drawings
  tensorboard        the TensorBoard files of a run, made again from its ledger
  export             the best of a run as JSON specs; a network as ONNX, Python, torch

networks:
  train              train a model on your data, or continue the training of the same name
  evaluate           COCO's numbers of trained weights on a data set
  predict            find objects in images with trained weights
  spec               block specs: show, validate, diff, draw
  models             the published models: parameters, multiply-adds, AP
  import-checkpoint  a released TensorFlow checkpoint as safetensors

before a search:
  doctor             what a search needs of this machine, and what is missing
  proxy              how far the proxy task's scores can be trusted
  bench              how fast the proxy task is on this machine
  estimate           hours, wall time, money and energy of a search or training
  reproduce          the paper's results, stage by stage; verify needs no data
  cluster            whether the nodes of a Ray cluster can run a search: trains on each
  completion         completion of commands and settings for bash, zsh or fish

exit codes:
  0    done, also where the reader of the output went away, as in `| head`
  1    not done, or a check found a fault: the line says why and what to do
  2    bad input, or a file that cannot be read or written; a run that is there can be resumed
  3    too many candidates failed, or all are too slow: it would end so again
  4    done, but the output could not be written: a full disk, a closed standard output
  130  interrupted, by Ctrl-C or SIGTERM; nothing finished is lost

spinesearch COMMAND --help says more. spinesearch --version prints the release.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code, as the usage lists them. Output that fails does not end it."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    with guarded_output() as outputs:
        try:
            code = _run(arguments)
        except SystemExit as stop:  # of argparse, whose help may have been lost as well
            if not isinstance(stop.code, int):
                raise
            raise SystemExit(outputs.code(stop.code)) from None
        return outputs.code(code)


def _run(arguments: list[str]) -> int:
    word = arguments[0] if arguments else "--help"
    if word in ("--help", "-h", "help"):
        print(_USAGE, end="")
        return 0 if arguments else 2
    if word == "--version":
        from spinesearch import __version__

        print(f"spinesearch {__version__}")
        return 0
    if word not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(word, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"commands are {', '.join(COMMANDS)}"
        return fail(f"{word}: there is no such command; {hint}")
    try:
        return COMMANDS[word](arguments[1:])
    except CommandError as end:
        return end.code
    except KeyboardInterrupt:
        return fail("interrupted", code=130)
    except OSError as error:
        if os.environ.get(_DEBUG_VARIABLE):
            raise
        return fail(os_error_line(error, {}))
    except ValueError as error:
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


def _retry(arguments: list[str]) -> int:
    from spinesearch.cli.runs.resume import retry

    return retry(arguments)


def _stop(arguments: list[str]) -> int:
    from spinesearch.cli.runs.stop import stop

    return stop(arguments)


def _ls(arguments: list[str]) -> int:
    from spinesearch.cli.runs.ls import ls

    return ls(arguments)


def _compare(arguments: list[str]) -> int:
    from spinesearch.cli.runs.compare import compare

    return compare(arguments)


def _show(arguments: list[str]) -> int:
    from spinesearch.cli.runs.show import show

    return show(arguments)


def _rerank(arguments: list[str]) -> int:
    from spinesearch.cli.runs.rerank import rerank

    return rerank(arguments)


def _report(arguments: list[str]) -> int:
    from spinesearch.cli.runs.report import report

    return report(arguments)


def _tensorboard(arguments: list[str]) -> int:
    from spinesearch.cli.runs.tensorboard import tensorboard

    return tensorboard(arguments)


def _export(arguments: list[str]) -> int:
    from spinesearch.cli.networks.export import export

    return export(arguments)


def _proxy(arguments: list[str]) -> int:
    from spinesearch.cli.proxy.proxy import proxy

    return proxy(arguments)


def _bench(arguments: list[str]) -> int:
    from spinesearch.cli.proxy.bench import bench

    return bench(arguments)


def _estimate(arguments: list[str]) -> int:
    from spinesearch.cli.proxy.estimate import estimate

    return estimate(arguments)


def _reproduce(arguments: list[str]) -> int:
    from spinesearch.cli.proxy.reproduce import reproduce

    return reproduce(arguments)


def _cluster(arguments: list[str]) -> int:
    from spinesearch.cli.proxy.cluster import cluster

    return cluster(arguments)


def _spec(arguments: list[str]) -> int:
    from spinesearch.cli.networks.spec import spec

    return spec(arguments)


def _train(arguments: list[str]) -> int:
    from spinesearch.cli.networks.train import train

    return train(arguments)


def _evaluate(arguments: list[str]) -> int:
    from spinesearch.cli.networks.evaluate import evaluate

    return evaluate(arguments)


def _predict(arguments: list[str]) -> int:
    from spinesearch.cli.networks.predict import predict

    return predict(arguments)


def _models(arguments: list[str]) -> int:
    from spinesearch.cli.networks.models import models

    return models(arguments)


def _import_checkpoint(arguments: list[str]) -> int:
    from spinesearch.cli.networks.import_checkpoint import import_checkpoint

    return import_checkpoint(arguments)


def _doctor(arguments: list[str]) -> int:
    from spinesearch.cli.machine.doctor import doctor

    return doctor(arguments)


def _completion(arguments: list[str]) -> int:
    from spinesearch.cli.machine.completion import completion

    return completion(arguments, COMMANDS)


COMMANDS: Mapping[str, Command] = {
    "search": _search,
    "resume": _resume,
    "retry": _retry,
    "stop": _stop,
    "rerank": _rerank,
    "ls": _ls,
    "show": _show,
    "compare": _compare,
    "report": _report,
    "tensorboard": _tensorboard,
    "export": _export,
    "train": _train,
    "evaluate": _evaluate,
    "predict": _predict,
    "spec": _spec,
    "models": _models,
    "import-checkpoint": _import_checkpoint,
    "proxy": _proxy,
    "bench": _bench,
    "estimate": _estimate,
    "reproduce": _reproduce,
    "cluster": _cluster,
    "doctor": _doctor,
    "completion": _completion,
}


def _is_for_people(error: ValueError) -> bool:
    """Whether an error was raised by our packages, for a user to read."""
    return type(error).__module__.startswith("spinesearch.") or type(error) is ValueError


if __name__ == "__main__":
    raise SystemExit(main())
