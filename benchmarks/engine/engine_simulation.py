"""Searches of any number of workers on a virtual clock: the search's own loop, without waiting for anything.

`VirtualScorer` is a `Scorer` whose workers are a heap of times at which they finish.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import random
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from engine_candidates import InOrder, PreparedSpace

from spinesearch.controller import Controller
from spinesearch.results.ledger.ledger import Ledger
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import Trial
from spinesearch.search.loop.checkpoint import Checkpoints
from spinesearch.search.loop.controlled import ControlledCandidates, SearchPlan
from spinesearch.search.loop.loop import run_loop
from spinesearch.search.loop.observer import SearchObserver
from spinesearch.search.scoring.scorer import Job, Outcome, Scorer
from spinesearch.search.scoring.scorers import Scorers
from spinesearch.space import ArchSpec, SearchSpace


def length_s(spec: ArchSpec, median_s: float, sigma: float) -> float:
    """How long a candidate takes: lognormal, decided by the network alone."""
    return median_s * random.Random(spec.arch_id).lognormvariate(0.0, sigma)


class VirtualScorer:
    """Scores nothing; its clock jumps to the next finish.

    Args:
        num_workers: candidates at a time.
        median_s: of their lengths.
        sigma: standard deviation of the logarithm of their lengths.
    """

    def __init__(self, num_workers: int, *, median_s: float, sigma: float) -> None:
        self._median_s, self._sigma = median_s, sigma
        self._now = 0.0
        self._free = deque(f"worker {i}" for i in range(num_workers))
        self._queue: deque[Job] = deque()
        self._finishing: list[tuple[float, int, str, float]] = []  # time, trial, worker, length

    @property
    def num_running(self) -> int:
        """Number of workers that have a candidate."""
        return len(self._finishing)

    def clock(self) -> float:
        """Virtual seconds since the start."""
        return self._now

    def submit(self, job: Job) -> None:
        """Start a candidate, or queue it."""
        self._queue.append(job)
        self._start()

    def wait(self, timeout_s: float) -> list[Outcome]:
        """The next candidate to finish, however long that takes."""
        self._now, trial, worker, seconds = heapq.heappop(self._finishing)
        self._free.append(worker)
        self._start()
        return [Outcome(trial=trial, metrics={"ap": 0.0}, worker=worker, seconds=seconds)]

    def close(self) -> None:
        """Nothing to end."""

    def _start(self) -> None:
        while self._free and self._queue:
            job, worker = self._queue.popleft(), self._free.popleft()
            seconds = length_s(job.spec, self._median_s, self._sigma)
            heapq.heappush(self._finishing, (self._now + seconds, job.trial, worker, seconds))


def search(
    scorer: Scorer,
    space: SearchSpace,
    controller: Controller,
    *,
    num_trials: int,
    generation_size: int,
    lag: int,
    observers: Callable[[Path], SearchObserver] = lambda run_dir: SearchObserver(),
    clock: Callable[[], float] = time.time,
) -> Run:
    """A search as the command line carries it out: ledger and checkpoints on disk, in a folder of its own.

    Args:
        scorer: scores the candidates.
        space: what they are of.
        controller: proposes them.
        num_trials: candidates.
        generation_size: candidates per update.
        lag: see `SearchPlan`.
        observers: gives what watches, from the run's folder.
        clock: of the results' time stamps.
    """
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder)) as ledger:
        run = Run()
        event = {"event": "run", "config": {}, "time": clock()}
        ledger.append([event])
        run.apply(event)
        plan = SearchPlan(
            seed=0,
            num_trials=num_trials,
            generation_size=generation_size,
            lag=lag,
            reward_metric="ap",
            failed_reward=0.0,
        )
        run_loop(
            source=ControlledCandidates(plan, space, controller, Checkpoints(Path(folder), keep=lag + 2)),
            space=space,
            scorers=Scorers(lambda side: contextlib.nullcontext(scorer)),
            ledger=ledger,
            run=run,
            observer=observers(Path(folder)),
            clock=clock,
        )
    return run


def busy_share(trials: Sequence[Trial], num_workers: int) -> float:
    """Share of the workers' time that candidates take, while there are candidates to come.

    From the moment the last worker has its first candidate to the start of the last candidate: neither the
    start of the workers counts nor the end of the search, when there is nothing left to do.
    """
    spans = [(trial.time - trial.seconds, trial.time, trial.worker) for trial in trials if trial.worker]
    first_starts: dict[str, float] = {}
    for start, _, worker in sorted(spans):
        first_starts.setdefault(worker, start)
    if len(first_starts) != num_workers:
        raise ValueError(f"{num_workers} workers were to take part, {len(first_starts)} did")
    begin, end = max(first_starts.values()), max(start for start, _, _ in spans)
    busy = sum(max(0.0, min(stop, end) - max(start, begin)) for start, stop, _ in spans)
    return busy / (num_workers * (end - begin))


def simulated_busy_share(
    num_workers: int, space: PreparedSpace, *, generation_factor: float, lag: int, sigma: float
) -> float:
    """`busy_share` on the virtual clock, generations of ``generation_factor`` times the workers."""
    scorer = VirtualScorer(num_workers, median_s=600.0, sigma=sigma)
    run = search(
        scorer,
        space,
        InOrder(space),
        num_trials=space.size,
        generation_size=round(generation_factor * num_workers),
        lag=lag,
        clock=scorer.clock,
    )
    return busy_share(run.trials, num_workers)


def print_simulation(num_workers: int, num_trials: int, sigmas: Sequence[float]) -> None:
    """Print busy shares by lag, generation size and spread of the lengths."""
    factors = (1.0, 1.5, 2.0, 4.0)
    space = PreparedSpace.of_size(num_trials)
    print("| lag | spread | " + " | ".join(f"generation {factor:g} x" for factor in factors) + " |")
    print("|---" * (2 + len(factors)) + "|")
    for lag, sigma in itertools.product((0, 1), sigmas):
        shares = [
            simulated_busy_share(num_workers, space, generation_factor=factor, lag=lag, sigma=sigma)
            for factor in factors
        ]
        cells = " | ".join(f"{share:.1%}" for share in shares)
        print(f"| {lag} | {sigma:g} | {cells} |", flush=True)
