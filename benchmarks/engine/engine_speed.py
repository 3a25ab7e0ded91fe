"""What the engine costs: the tables of docs/engine-speed.md, as Markdown.

python benchmarks/engine/engine_speed.py [--quick] [speed] [waiting] [simulation] [rungs] [memory] [ledger]
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import ray
from engine_candidates import InOrder, PreparedSpace
from engine_ray import (
    NUM_CPUS,
    bare_rate,
    local_ray,
    open_instant,
    open_sleeping,
    open_workers,
    wait_for_workers,
)
from engine_simulation import (
    busy_share,
    print_rungs,
    print_simulation,
    search,
    simulated_busy_share,
)
from engine_tune import tune_rate
from ledger_scale import time_opening, write_run
from rich.console import Console

from spinesearch.controller import Controller
from spinesearch.controller.random import RandomController
from spinesearch.controller.reinforce import ReinforceController
from spinesearch.data.parallel import processor_name
from spinesearch.results.ledger.ledger import LEDGER_NAME
from spinesearch.results.ledger.lines import Event
from spinesearch.results.ledger.run import Run
from spinesearch.search.loop.observer import Observers, SearchObserver
from spinesearch.search.watchers.display import Display
from spinesearch.search.watchers.tensorboard import TensorBoardObserver
from spinesearch.search.workers.worker import own_memory_bytes
from spinesearch.space import SPINENET_49, SearchSpace, SpineNetSpace

_SECTIONS = ("speed", "waiting", "simulation", "rungs", "memory", "ledger")
_NUM_MANY = 14_000  # candidates of the largest searches published


class _Times(SearchObserver):
    """When each trial's result was in the ledger."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def recorded(self, event: Event, run: Run) -> None:
        """Note the time."""
        if event["event"] == "result":
            self.seconds.append(time.perf_counter())


class _Memory(SearchObserver):
    """This process's memory after every so many trials, and the time."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._num_finished = 0
        self.rows: list[tuple[int, float, float]] = []  # trials, MB, seconds

    def started(self, run: Run, num_trials: int) -> None:
        """Where it begins."""
        self._note()

    def recorded(self, event: Event, run: Run) -> None:
        """Count."""
        self._num_finished += event["event"] == "result"
        if event["event"] == "result" and self._num_finished % self._every == 0:
            self._note()

    def _note(self) -> None:
        self.rows.append((self._num_finished, own_memory_bytes() / 1e6, time.perf_counter()))


def main() -> None:
    """Print a header and the tables requested; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="those to print; all by default")
    parser.add_argument("--quick", action="store_true", help="few candidates, to see that it runs")
    args = parser.parse_args()
    if unknown := set(args.sections) - set(_SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    command = " ".join(["python benchmarks/engine/engine_speed.py", *sys.argv[1:]])
    print(
        f"{processor_name()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"Ray {ray.__version__}, {datetime.date.today()}, `{command}`."
    )
    sections: dict[str, Callable[[bool], None]] = {
        "speed": _print_speed,
        "waiting": _print_waiting,
        "simulation": _print_simulation,
        "rungs": _print_rungs,
        "memory": _print_memory,
        "ledger": _print_ledger,
    }
    with local_ray():
        for name in args.sections or _SECTIONS:
            print(f"{name} ...", file=sys.stderr, flush=True)
            print()
            sections[name](args.quick)


def _print_speed(quick: bool) -> None:
    """Candidates that do nothing per second, ours and Tune's in turn."""
    num_rounds, num_ours, num_reused, num_plain = (2, 200, 10, 4) if quick else (5, 2000, 60, 8)
    prepared, space = PreparedSpace.of_size(num_ours), SpineNetSpace()
    in_order, random_search = partial(InOrder, prepared), partial(RandomController, space, seed=0)
    reinforce = partial(ReinforceController, space, seed=0)
    rates = {
        "**the engine**: candidates drawn beforehand": (
            num_ours,
            partial(_rate, num_ours, prepared, in_order),
        ),
        "random search": (num_ours, partial(_rate, num_ours, space, random_search)),
        "REINFORCE": (num_ours, partial(_rate, num_ours, space, reinforce)),
        "REINFORCE, display, TensorBoard": (num_ours, partial(_rate, num_ours, space, reinforce, _watchers)),
        "Ray's actors alone": (num_ours, partial(bare_rate, num_ours, SPINENET_49)),
        "Ray Tune, `reuse_actors=True`": (num_reused, partial(tune_rate, num_reused, reuse_actors=True)),
        "Ray Tune as it comes": (num_plain, partial(tune_rate, num_plain, reuse_actors=False)),
    }
    times: dict[str, list[float]] = {name: [] for name in rates}
    for _ in range(num_rounds):  # in turn, so that a drift of the machine meets all
        for name, (_, measure) in rates.items():
            times[name].append(measure())
    print(
        f"**Candidates that do nothing, per second**, {NUM_CPUS} workers, from the first result "
        f"to the last; median (lowest to highest) of {num_rounds} repeats in turn\n"
    )
    print("| | candidates | per second |\n|---|---|---|")
    for name, (count, _) in rates.items():
        figures = [f(times[name]) for f in (median, min, max)]
        middle, low, high = (f"{x:,.0f}" if x >= 100 else f"{x:.3g}" for x in figures)
        print(f"| {name} | {count} | {middle} ({low}-{high}) |")


def _rate(
    num_trials: int,
    space: SearchSpace,
    controller: Callable[[], Controller],
    watchers: Callable[[Path], list[SearchObserver]] = lambda run_dir: [],
) -> float:
    """Candidates per second of a search on Ray, ledger flushed to disk and all."""
    times = _Times()
    scorer = open_workers(open_instant, NUM_CPUS)
    try:
        search(
            scorer,
            space,
            controller(),
            num_trials=num_trials,
            generation_size=64,
            lag=1,
            observers=lambda run_dir: Observers([times, *watchers(run_dir)]),
        )
    finally:
        scorer.close()
    return (num_trials - 1) / (times.seconds[-1] - times.seconds[0])


def _watchers(run_dir: Path) -> list[SearchObserver]:
    """Those of the command line."""
    console = Console(file=(run_dir / "display").open("w"), force_terminal=True)
    return [Display(console, reward_metric="ap"), TensorBoardObserver(run_dir)]


def _print_waiting(quick: bool) -> None:
    """Share of time that real workers are busy, beside the simulation of the same."""
    median_s, sigma = 0.5, 0.3
    rounds = 6 if quick else 40
    print(
        f"**Workers that are busy**, real ones that sleep (lognormal, median {median_s:g} s, spread "
        f"{sigma:g}), generation 1.5 x workers, {rounds} candidates per worker; and the simulation "
        "of the same\n"
    )
    print("| workers | lag | busy | simulated |\n|---|---|---|---|")
    for num_workers in (2, 8):
        space = PreparedSpace.of_size(rounds * num_workers)
        for lag in (0, 1):
            scorer = open_workers(partial(open_sleeping, median_s, sigma), num_workers)
            try:
                wait_for_workers(scorer, num_workers, space.specs[0])
                run = search(
                    scorer,
                    space,
                    InOrder(space),
                    num_trials=space.size,
                    generation_size=round(1.5 * num_workers),
                    lag=lag,
                )
            finally:
                scorer.close()
            simulated = simulated_busy_share(num_workers, space, generation_factor=1.5, lag=lag, sigma=sigma)
            share = busy_share(run.trials, num_workers)
            print(f"| {num_workers} | {lag} | {share:.1%} | {simulated:.1%} |", flush=True)


def _print_simulation(quick: bool) -> None:
    """Share of time that 1,000 workers are busy, by simulation."""
    num_workers, num_trials = (100, 1400) if quick else (1000, _NUM_MANY)
    print(
        f"**{num_workers:,} workers that are busy**, by simulation of the same loop, {num_trials:,} "
        "candidates of lognormal length; spread: standard deviation of the length's logarithm\n"
    )
    print_simulation(num_workers, num_trials, (0.1, 0.3, 0.5))


def _print_rungs(quick: bool) -> None:
    """Share of time that 8 and 1,000 workers are busy with rungs, by simulation."""
    for num_workers, num_trials in ((8, 320), (100, 2400)) if quick else ((8, 1600), (1000, 24_000)):
        print(
            f"**{num_workers:,} workers that are busy, with rungs** after 100 and 300 of 900 steps that keep "
            f"a third each, by simulation, {num_trials:,} candidates of lognormal length\n"
        )
        print_rungs(num_workers, num_trials, (0.1, 0.3))
        print()


def _print_memory(quick: bool) -> None:
    """The driver's memory and speed as the number of trials grows."""
    num_trials = 1400 if quick else _NUM_MANY
    memory, space = _Memory(num_trials // 14), SpineNetSpace()
    scorer = open_workers(open_instant, NUM_CPUS)
    try:
        search(
            scorer,
            space,
            RandomController(space, seed=0),
            num_trials=num_trials,
            generation_size=64,
            lag=1,
            observers=lambda run_dir: Observers([memory, *_watchers(run_dir)]),
        )
    finally:
        scorer.close()
    print(f"**The driver over {num_trials:,} candidates**, display and TensorBoard included\n")
    print("| candidates | MB of its own | ms per candidate |\n|---|---|---|")
    for (before, _, began), (count, mb, ended) in zip(memory.rows, memory.rows[1:], strict=False):
        print(f"| {count:,} | {mb:.0f} | {1e3 * (ended - began) / (count - before):.2f} |")
    counts, mbs, _ = np.array(memory.rows[len(memory.rows) // 3 :]).T
    slope, _ = np.polyfit(counts, mbs, 1)
    print(f"\nSlope over the last two thirds: {1e3 * slope:.2f} kB per candidate.")


def _print_ledger(quick: bool) -> None:
    """A long run's ledger: its size, and the time until a search can continue from it."""
    num_trials = 1400 if quick else _NUM_MANY
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        write_run(run_dir, num_trials=num_trials)
        opening = time_opening(run_dir)
        megabytes = (run_dir / LEDGER_NAME).stat().st_size / 1e6
    print(f"**Resuming a run of {num_trials:,} candidates**, medians of fresh processes\n")
    print("| ledger | read | events taken in | controller made | next candidate | **all** | with imports |")
    print("|---|---|---|---|---|---|---|")
    seconds = (
        *(opening.ledger_s, opening.events_s, opening.controller_s, opening.search_s),
        *(opening.total_s, opening.process_s),
    )
    print(f"| {megabytes:.1f} MB | " + " | ".join(f"{value:.2f} s" for value in seconds) + " |")


if __name__ == "__main__":
    main()
