"""``spinesearch stop``: ask the process that carries out a run to end it cleanly, wherever it runs."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

from spinesearch.cli.os_errors import named_files
from spinesearch.cli.parser import command_parser, fail
from spinesearch.cli.runs.recorded import find_run

_TIMEOUT_S = 60.0
_LOOK_EVERY_S = 0.25
_ASK_MIRROR_EVERY_S = 2.0


def stop(arguments: list[str]) -> int:
    """Run ``spinesearch stop``; returns its exit code: 1 if the run has not stopped in time."""
    parser = command_parser(
        "stop",
        "Stop a search, a study or a training as Ctrl-C does where it runs: nothing finished is lost, and\n"
        "`spinesearch resume` continues it. Its process sees the request in the run's folder, from another\n"
        "machine too, or in its mirror. Waits until the run has stopped.",
        "examples:\n"
        "  spinesearch stop 2026-11-23_demo\n"
        "  spinesearch stop /shared/runs/demo --timeout 300\n"
        "  spinesearch stop s3://bucket/runs/demo",
        has_config=False,
    )
    parser.add_argument(
        "run", metavar="RUN", help="the run's folder, its name in runs/, or the URL of its mirror"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=_TIMEOUT_S,
        metavar="S",
        help=f"seconds to wait (default: {_TIMEOUT_S:g})",
    )
    options = parser.parse_args(arguments)
    if not options.timeout > 0:
        raise ValueError(f"--timeout: must be positive, got {options.timeout:g}")
    if "://" in options.run:
        return _stop_by_mirror(options.run, options.timeout)
    run_dir = find_run(options.run)
    with named_files({"RUN": run_dir}):
        return _stop(run_dir, options.timeout)


def _stop(run_dir: Path, timeout_s: float) -> int:
    from spinesearch.results.ledger.lease import read_lease
    from spinesearch.results.ledger.run_lock import DEAD_AFTER_S, LEASE_NAME, running_owner
    from spinesearch.results.overview import overview
    from spinesearch.search.runs.stop_request import request_stop, withdraw_stop

    before, owner = overview(run_dir), running_owner(run_dir)
    if owner is None:
        print(f"{run_dir}: is not running: {before.state}")
        return 0
    request_stop(run_dir)
    end = time.monotonic() + timeout_s
    last, seen = "", time.monotonic()
    while time.monotonic() < end:
        time.sleep(_LOOK_EVERY_S)
        holder, sign = read_lease(run_dir / LEASE_NAME)
        if holder is None or holder.token != owner.token:
            after = overview(run_dir)
            print(f"{run_dir}: {after.state}, {after.done} of {after.of} done; nothing finished is lost")
            if after.state == "stopped":
                print(f"next:\n  spinesearch resume {shlex.quote(str(run_dir))}")
            return 0
        if sign != last:
            last, seen = sign, time.monotonic()
        is_silent = time.monotonic() - seen > DEAD_AFTER_S
        if not owner.is_running if owner.can_be_looked_up else is_silent:
            withdraw_stop(run_dir)
            print(f"{run_dir}: is not running any more: {owner} gives no sign of life")
            return 0
    return fail(
        f"{run_dir}: has not stopped within {timeout_s:g} s ({owner}); the request stays in its folder, and "
        "the same command waits on",
        code=1,
    )


def _stop_by_mirror(url: str, timeout_s: float) -> int:
    from spinesearch.search.runs.mirror import MirrorError, reason
    from spinesearch.search.runs.run_folder import mirror_of, mirrored_run
    from spinesearch.search.runs.stop_request import asker

    mirrored_run(url, [])  # a URL that is no run's is refused
    mirror = mirror_of(url)
    end = time.monotonic() + timeout_s
    try:
        mirror.request_stop(asker())
        while time.monotonic() < end:
            time.sleep(_ASK_MIRROR_EVERY_S)
            if not mirror.stop_request():
                print(f"{url}: stopped; nothing finished is lost\nnext:\n  spinesearch resume {url}")
                return 0
        mirror.withdraw_stop()
    except Exception as error:  # of what library depends on the protocol
        raise MirrorError(f"mirror: {url} cannot be written: {reason(error)}") from error
    return fail(
        f"{url}: no process has answered within {timeout_s:g} s, and the request is withdrawn: the run is "
        "not running, or takes longer to stop; give a longer --timeout",
        code=1,
    )
