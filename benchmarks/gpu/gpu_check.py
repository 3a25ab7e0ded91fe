"""Everything worth knowing of this package on a GPU, in twelve minutes: docs/gpu.md says what and how.

python benchmarks/gpu/gpu_check.py [--quick] [--only SECTION,...] [--minutes 12] [--output runs/gpu-check]

Each section runs in its own process, which is killed when its time is over, so that one that hangs or
loses the device costs nothing but itself. The report is there from the first second and grows.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from check_report import STEM, Outcome, write_report
from check_sections import NAMES, SECTIONS, time_limit

ROOT = Path(__file__).resolve().parents[2]
_TICK_S = 0.2
_LEAST_S = 3.0  # a section needs as much to begin at all
_NUM_LAST_LINES = 15


def main() -> int:
    """Run the sections; returns 0 if all passed, 1 if not, 2 if nothing could be started."""
    args = _arguments()
    try:
        import torch
    except ImportError as error:
        return _refused(f"torch cannot be imported ({error}); docs/gpu.md lists what this check needs")
    if not args.quick and not torch.cuda.is_available():
        return _refused("torch sees no CUDA device; --quick runs a small version of every section on the CPU")
    folder = args.output.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        outcomes = [Outcome(section) for section in SECTIONS if section.name in args.only]
        header = {
            "Command": f"`{shlex.join(['python', 'benchmarks/gpu/gpu_check.py', *sys.argv[1:]])}`",
            "Began": time.strftime("%Y-%m-%d %H:%M:%S %z"),
            "torch": torch.__version__,
        }
        write_report(folder, header, outcomes)
    except OSError as error:
        return _refused(f"--output: {folder} cannot be written ({error.strerror}); give another folder")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the section at work is ended too
    deadline = time.monotonic() + 60 * args.minutes
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as scratch:
        for i, outcome in enumerate(outcomes):
            sections = [later.section for later in outcomes[i:]]
            outcome.limit_s = time_limit(deadline - time.monotonic(), sections)
            carry_out(
                outcome,
                folder,
                Path(scratch),
                quick=args.quick,
                save=lambda: write_report(folder, header, outcomes),
            )
            print(f"{outcome.section.name}: {outcome.status} after {outcome.seconds:.0f} s", end="")
            print(f": {outcome.reason}" if outcome.reason else "", flush=True)
    print(f"{folder / STEM}.md, {folder / STEM}.json")
    return 0 if all(outcome.status == "passed" for outcome in outcomes) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], epilog=f"Sections: {', '.join(NAMES)}."
    )
    parser.add_argument("--quick", action="store_true", help="a small version of everything, on the CPU too")
    parser.add_argument("--only", type=_names, default=NAMES, metavar="SECTION,...", help="these sections")
    parser.add_argument("--minutes", type=_minutes, default=12.0, help="for all sections together (12)")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/gpu-check"), metavar="DIR", help="for the report"
    )
    return parser.parse_args()


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if name not in NAMES:
            raise argparse.ArgumentTypeError(f"no section {name!r}; there are {', '.join(NAMES)}")
    return names


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes < 24 * 60:
        raise argparse.ArgumentTypeError(f"must be above 0 and below a day, got {text}")
    return minutes


def _refused(reason: str) -> int:
    print(f"gpu-check: {reason}", file=sys.stderr)
    return 2


def carry_out(
    outcome: Outcome, folder: Path, scratch: Path, *, quick: bool, save: Callable[[], None]
) -> None:
    """Run a section to its end or its limit, and keep the report up to date meanwhile.

    Args:
        outcome: the section and its limit; what comes of it is written here.
        folder: for what the section prints.
        scratch: for its parts and its data.
        quick: whether to run the small version.
        save: called whenever the outcome has changed.
    """
    if outcome.limit_s < _LEAST_S:
        outcome.status, outcome.reason = "not run", "no time was left"
        save()
        return
    outcome.status = "running"
    save()
    name = outcome.section.name
    parts, log = scratch / f"{name}.jsonl", folder / f"{name}.log"
    parts.touch()
    started = time.monotonic()
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [
                sys.executable,
                str(ROOT / "benchmarks/gpu/run_section.py"),
                outcome.section.module,
                outcome.section.function,
                str(parts),
                *(["--quick"] if quick else []),
            ],
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=_environment(scratch),
            start_new_session=True,
        )
        try:
            num_bytes = 0
            while process.poll() is None and time.monotonic() - started < outcome.limit_s:
                time.sleep(_TICK_S)
                if parts.stat().st_size != num_bytes:
                    num_bytes = parts.stat().st_size
                    outcome.parts = _read_parts(parts)
                    save()
            code = process.poll()
        finally:
            _end(process)
    outcome.seconds = time.monotonic() - started
    outcome.parts = _read_parts(parts)
    outcome.status, outcome.reason = _verdict(code, outcome)
    if code != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        outcome.last_lines = lines[-_NUM_LAST_LINES:]
    save()


def _environment(scratch: Path) -> dict[str, str]:
    """This process's, with our sources first on the path and a data cache that is gone at the end."""
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONUNBUFFERED": "1",
        "SPINESEARCH_CACHE": str(scratch / "cache"),
    }


def _read_parts(path: Path) -> list[dict[str, object]]:
    """The parts emitted so far, the last of each title; a line that is being written does not count."""
    parts: dict[object, dict[str, object]] = {}
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            part = json.loads(line)
            parts[part["title"]] = part
    return list(parts.values())


def _verdict(code: int | None, outcome: Outcome) -> tuple[str, str]:
    problems = [str(part["problem"]) for part in outcome.parts if part["problem"]]
    if code is None:
        status = "cut short" if outcome.parts and not problems else "out of time"
        return status, "; ".join([f"ended after {outcome.seconds:.0f} s", *problems])
    if code < 0:
        problems.insert(0, f"ended by {signal.Signals(-code).name}")
    elif code > 0:
        problems.insert(0, "ended with an error")
    return ("failed" if problems else "passed"), "; ".join(problems)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill whatever a section left running; one that even a kill does not end is left alone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)


if __name__ == "__main__":
    sys.exit(main())
