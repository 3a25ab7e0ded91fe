"""How fast the commands on runs answer, each in a process of its own.

They may take a second at 1,000 candidates and three at 14,000.

python benchmarks/engine/commands_speed.py [NUM_TRIALS ...]
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ledger_scale import write_run

from spinesearch.data.parallel import processor_name

_REPEATS = 5
_LIMITS_S = {1_000: 1.0, 14_000: 3.0}


def commands(folder: Path) -> Mapping[str, Sequence[str]]:
    """The commands, by what is shown of them; ``folder`` holds the runs ``a`` and ``b``."""
    a, b = str(folder / "a"), str(folder / "b")
    return {
        "--help": ["--help"],
        "ls RUN": ["ls", a],
        "show RUN": ["show", a],
        "show RUN --json": ["show", a, "--json"],
        "show RUN --csv": ["show", a, "--csv"],
        "show RUN --follow, to its end": ["show", a, "--follow"],
        "compare RUN RUN": ["compare", a, b],
        "stop RUN, not running": ["stop", a],
        "retry RUN, nothing failed": ["retry", a],
        "completion bash": ["completion", "bash"],
    }


def seconds(words: Sequence[str]) -> float:
    """The median time of a command, from the start of its process to its end."""
    times = []
    for _ in range(_REPEATS):
        begun = time.perf_counter()
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            subprocess.run([sys.executable, "-m", "spinesearch", *words], stdout=nowhere, check=True)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def main() -> int:
    """Print a table; returns 1 if a command took longer than it may."""
    sizes = [int(word) for word in sys.argv[1:]] or list(_LIMITS_S)
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        for size in sizes:
            folder = Path(name) / str(size)
            for seed, run in enumerate(("a", "b")):
                write_run(folder / run, num_trials=size, seed=seed)
            for shown, words in commands(folder).items():
                found.setdefault(shown, []).append(seconds(words))
    print(f"{processor_name()}, Python {platform.python_version()}; medians of {_REPEATS}")
    print(f"| command | {' | '.join(f'{size:,} candidates' for size in sizes)} |")
    print(f"| --- |{' --- |' * len(sizes)}")
    for shown, times in found.items():
        print(f"| `{shown}` | {' | '.join(f'{value:.2f} s' for value in times)} |")
    slow = [
        f"{shown} at {size:,} candidates: {value:.2f} s, {_LIMITS_S[size]:g} allowed"
        for shown, times in found.items()
        for size, value in zip(sizes, times, strict=True)
        if value > _LIMITS_S.get(size, float("inf"))
    ]
    print("\n".join(slow) or "all within their limits")
    return 1 if slow else 0


if __name__ == "__main__":
    raise SystemExit(main())
