"""Size of a long run's ledger, time to open it, and what its lock costs: figures of docs/cluster.md.

python benchmarks/engine/ledger_scale.py [NUM_TRIALS]
"""

from __future__ import annotations

import contextlib
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spinesearch.controller.reinforce import ReinforceController
from spinesearch.data.parallel import processor_name
from spinesearch.results.ledger.ledger import LEDGER_NAME, Ledger
from spinesearch.results.ledger.lines import Event
from spinesearch.results.ledger.run import Run
from spinesearch.search.config.run_config import compose, run_config
from spinesearch.search.loop.checkpoint import Checkpoints, state_digest
from spinesearch.search.loop.controlled import ControlledCandidates, SearchPlan
from spinesearch.search.loop.loop import run_loop
from spinesearch.search.runs.mirror import Mirror
from spinesearch.search.scoring.scorer import Job
from spinesearch.search.scoring.scorers import Scorers
from spinesearch.search.scoring.serial_scorer import SerialScorer
from spinesearch.search.watchers.tensorboard import TensorBoardObserver

_GENERATION_SIZE = 8  # candidates per update, as in conf/search/default.yaml
_DUPLICATE_SHARE = 0.1
_LAG = 1  # likewise
_REPEATS = 5

# Opens the run of its second argument as `spinesearch resume` does, in its own process.
_OPEN = """
import sys, pathlib
sys.path.insert(0, sys.argv[1])
import ledger_scale
print(*ledger_scale.open_run(pathlib.Path(sys.argv[2])))
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """Seconds of the steps until a search continues; the imports are those of its modules and torch."""

    ledger_s: float
    events_s: float
    controller_s: float
    search_s: float
    process_s: float

    @property
    def total_s(self) -> float:
        """All but the imports."""
        return self.ledger_s + self.events_s + self.controller_s + self.search_s


class HandedOut(Exception):  # noqa: N818 - it is no error
    """A candidate has reached the scorer."""


class FirstCandidate(SerialScorer):
    """Ends the search when it is handed the first candidate, and notes when that was."""

    def __init__(self) -> None:
        super().__init__(lambda: lambda spec, seed: {})
        self.at = 0.0

    def submit(self, job: Job) -> None:
        """Raise."""
        self.at = time.perf_counter()
        raise HandedOut


def write_run(run_dir: Path, *, num_trials: int = 14_000, seed: int = 0) -> None:
    """Write a run as a search leaves it in the space of the paper, with random scores.

    One candidate in ten is a duplicate. The controller's states are those of the last updates.
    """
    config = run_config(compose([f"seed={seed}", f"search.num_trials={num_trials}", "search.finalists=0"]))
    space = config.space.build()
    rng, chance = np.random.default_rng(seed), random.Random(seed)
    controller = ReinforceController(space, seed=seed)
    state = controller.state_dict()
    data = {"key": "0" * 16, "num_train_images": 7392, "num_held_out_images": 1000, "class_names": ["x"] * 80}
    session = {"version": "0", "torch": "0", "python": "0", "host": "host", "data": data}
    with Ledger(run_dir) as ledger:
        ledger.append([{"event": "run", **session, "config": config.to_dict(), "time": time.time()}])
        for generation in range(num_trials // _GENERATION_SIZE):
            trials = range(generation * _GENERATION_SIZE, (generation + 1) * _GENERATION_SIZE)
            proposals: list[Event] = []
            for trial in trials:
                tokens = space.sample(rng)
                proposals.append(
                    {
                        "event": "propose",
                        "trial": trial,
                        "generation": generation,
                        "tokens": list(tokens),
                        "log_probs": [round(-chance.uniform(0, 2), 6) for _ in tokens],
                        "arch_id": space.decode(tokens).arch_id,
                    }
                )
            stats = {
                name: chance.random()
                for name in ("loss", "entropy", "baseline", "importance_ratio", "grad_norm")
            }
            update = {
                "event": "update",
                "update": generation,
                "stats": stats,
                "digest": state_digest(state),
            }
            results = [_result(trial, chance) for trial in trials]
            ledger.append([*proposals, *map(_begin, filter(_is_trained, results)), *results, update])
    num_updates = num_trials // _GENERATION_SIZE
    for number in range(num_updates - _LAG - 2, num_updates):
        Checkpoints(run_dir, keep=_LAG + 2).save(number, state)


def _is_trained(result: Event) -> bool:
    return bool(result["status"] != "duplicate")


def _begin(result: Event) -> Event:
    """The event that stands before a result, when its candidate begins."""
    fields = {"begin": True, "trial": result["trial"], "attempt": result["attempts"]}
    return {
        "event": "attempt",
        **fields,
        **{name: result[name] for name in ("node", "worker", "time")},
    }


def _result(trial: int, chance: random.Random) -> dict[str, Any]:
    metrics = {
        name: chance.random() for name in ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar100")
    }
    metrics |= {"loss": chance.uniform(0.3, 2), "num_steps": 2000, "num_parameters": 248_659}
    metrics |= {"num_multiply_adds": 64_799_200, "images_per_s": chance.uniform(10, 200)}
    metrics |= {"seconds": chance.uniform(60, 600), "train_seconds": chance.uniform(60, 600)}
    event = {"event": "result", "trial": trial, "reward": metrics["ap"], "metrics": metrics}
    if trial and chance.random() < _DUPLICATE_SHARE:
        event |= {"status": "duplicate", "duplicate_of": chance.randrange(trial)}
    else:
        event |= {"status": "completed", "attempts": 1, "node": "10.0.0.1", "worker": "host:12345"}
        event |= {"seconds": metrics["seconds"]}
    return {**event, "time": time.time()}


def open_run(run_dir: Path) -> tuple[float, float, float, float]:
    """Seconds to read the ledger, to apply its events, to make the controller, and to the next candidate.

    The last is the search's own: it loads the controller's state, samples a generation beyond those of the
    run, and hands out its first candidate; meanwhile the scalars for TensorBoard are rewritten.
    """
    marks = [time.perf_counter()]
    with Ledger(run_dir) as ledger:
        marks.append(time.perf_counter())
        run = Run.from_events(run_dir / LEDGER_NAME, ledger.contents.events)
        marks.append(time.perf_counter())
        space = run_config(run.config).space.build()
        controller = ReinforceController(space, seed=0)
        marks.append(time.perf_counter())
        scorer = FirstCandidate()
        with contextlib.suppress(HandedOut):
            plan = SearchPlan(
                seed=0,
                num_trials=len(run.trials) + _GENERATION_SIZE,
                generation_size=_GENERATION_SIZE,
                lag=_LAG,
                reward_metric="ap",
                failed_reward=0.0,
            )
            checkpoints = Checkpoints(run_dir, keep=_LAG + 2)
            run_loop(
                source=ControlledCandidates(plan, space, controller, checkpoints),
                space=space,
                scorers=Scorers(lambda side: contextlib.nullcontext(scorer)),
                ledger=ledger,
                run=run,
                observer=TensorBoardObserver(run_dir),
            )
    begun, read, taken_in, made = marks
    return read - begun, taken_in - read, made - taken_in, scorer.at - made


def time_opening(run_dir: Path) -> Opening:
    """Medians of five openings, each in a fresh process, and of the whole process with its imports."""
    steps: list[list[float]] = []
    for _ in range(_REPEATS):
        begun = time.perf_counter()
        result = subprocess.run(
            [sys.executable, "-c", _OPEN, str(Path(__file__).parent), str(run_dir)],
            check=True,
            capture_output=True,
            text=True,
        )
        steps.append([*map(float, result.stdout.split()), time.perf_counter() - begun])
    return Opening(
        **dict(
            zip(
                ("ledger_s", "events_s", "controller_s", "search_s", "process_s"),
                map(statistics.median, zip(*steps, strict=True)),
                strict=True,
            )
        )
    )


def time_append(run_dir: Path, *, num_appends: int = 1000) -> tuple[float, float]:
    """Median seconds of appending one result with its flush to disk, and of the two looks at the lease."""
    chance = random.Random(0)
    appends, checks = [], []
    with Ledger(run_dir) as ledger:
        for trial in range(num_appends):
            event = _result(trial, chance)
            begun = time.perf_counter()
            ledger.append([event])
            appended = time.perf_counter()
            ledger.check()
            ledger.check()
            checks.append(time.perf_counter() - appended)
            appends.append(appended - begun)
    return statistics.median(appends), statistics.median(checks)


def time_mirror(run_dir: Path, mirror_dir: Path) -> tuple[float, float]:
    """Seconds to send a whole run to a folder as its mirror in parts of a generation, and to fetch it."""
    url = f"file://{mirror_dir}"
    mirror = Mirror(url, run_dir.name)
    data = (run_dir / LEDGER_NAME).read_bytes()
    ends = [i + 1 for i, byte in enumerate(data) if byte == ord("\n")][:: 2 * _GENERATION_SIZE + 1]
    begun = time.perf_counter()
    for end in [*ends, len(data)]:
        mirror.push(run_dir, end)
    sent = time.perf_counter()
    other = Mirror(url, run_dir.name)
    theirs = other.read()
    with Ledger(mirror_dir / "fetched") as ledger:
        other.pull(ledger, theirs, mirror_dir / "fetched", lambda line: None)
    return sent - begun, time.perf_counter() - sent


def main() -> None:
    """Print the figures as a table."""
    num_trials = int(sys.argv[1]) if len(sys.argv) > 1 else 14_000
    print(f"{processor_name()}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        write_run(run_dir, num_trials=num_trials)
        opening = time_opening(run_dir)
        append_s, check_s = time_append(Path(folder) / "appends")
        push_s, pull_s = time_mirror(run_dir, Path(folder) / "mirror")
        num_pushes = num_trials // _GENERATION_SIZE
        print(f"| ledger of {num_trials:,} candidates | {_megabytes(run_dir):.1f} MB |\n| --- | --- |")
        print(f"| read and checked | {opening.ledger_s:.2f} s |")
        print(f"| events taken in | {opening.events_s:.2f} s |")
        print(f"| controller made | {opening.controller_s:.2f} s |")
        print(f"| its state loaded, the next generation sampled and handed out | {opening.search_s:.2f} s |")
        print(f"| resumed, all of these | {opening.total_s:.2f} s |")
        print(f"| the process from its start, with imports | {opening.process_s:.2f} s |")
        print(f"| one result appended, on disk | {append_s * 1e3:.2f} ms |")
        print(f"| of that the looks at the lease | {check_s * 1e3:.3f} ms |")
        print(f"| a generation sent to a mirror on this disk | {push_s / num_pushes * 1e3:.1f} ms |")
        print(f"| fetched from that mirror, {num_pushes:,} parts | {pull_s:.2f} s |")


def _megabytes(run_dir: Path) -> float:
    return (run_dir / LEDGER_NAME).stat().st_size / 1e6


if __name__ == "__main__":
    main()
