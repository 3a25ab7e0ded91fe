"""``spinesearch tensorboard``: a search's TensorBoard event files, made again from its ledger."""

from __future__ import annotations

from spinesearch.cli.os_errors import named_files
from spinesearch.cli.parser import command_parser, path_argument
from spinesearch.cli.runs.recorded import find_run, read_run

_TOP = 10


def tensorboard(arguments: list[str]) -> int:
    """Run ``spinesearch tensorboard``; returns its exit code."""
    parser = command_parser(
        "tensorboard",
        "Write the TensorBoard event files of a search anew from its ledger: rewards, what the strategy\n"
        "logged, finalists, the settings as HParams, and the best architectures drawn.",
        "examples:\n"
        "  spinesearch tensorboard 2026-11-23_demo && tensorboard --logdir runs\n"
        "  spinesearch tensorboard /data/runs/demo --top 50 -o /tmp/events/demo",
    )
    parser.add_argument("run", metavar="RUN", help="the run's folder or its name in runs/")
    parser.add_argument("--top", type=int, default=_TOP, metavar="N", help=f"best to draw (default: {_TOP})")
    parser.add_argument(
        "-o",
        "--output",
        type=path_argument,
        metavar="FOLDER",
        help="a folder that is not there yet (default: RUN/tensorboard, in place of what is there)",
    )
    options = parser.parse_args(arguments)
    run_dir = find_run(options.run)
    run = read_run(run_dir, options)
    if options.cfg:
        return 0
    if run.study is not None or run.training is not None:
        raise ValueError(f"{run_dir}: is a {run.kind}; only searches have their events made again")
    if options.top < 0:
        raise ValueError(f"--top: must be at least 0, got {options.top}")
    from importlib.util import find_spec

    if find_spec("tensorboard") is None:
        raise ValueError("TensorBoard is not installed; pip install tensorboard")
    from spinesearch.results.ledger.run_lock import RunInUseError, RunLock
    from spinesearch.search.watchers.tensorboard import FOLDER, rebuild

    if options.output is not None and options.output.exists():
        raise ValueError(f"--output: is there already, and would be replaced: {options.output}; give another")
    folder = options.output or run_dir / FOLDER
    with named_files({"--output": folder}):
        lock = None
        if options.output is None:
            try:
                lock = RunLock(run_dir)
            except RunInUseError as error:
                raise ValueError(f"{error}, or give -o FOLDER") from error
        try:
            rebuild(run, folder, space=run.space, top=options.top)
        finally:
            if lock is not None:
                lock.release()
    print(f"wrote {folder}; next:\n  tensorboard --logdir {folder.parent}")
    return 0
