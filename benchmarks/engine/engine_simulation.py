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
from spinesearch.search.config.rungs import Rung
from spinesearch.search.loop.checkpoint import Checkpoints
from spinesearch.search.loop.controlled import ControlledCandidates, SearchPlan
from spinesearch.search.loop.loop import run_loop
from spinesearch.search.loop.observer import SearchObserver
from spinesearch.search.loop.rungs import NO_RUNGS, Halving
from spinesearch.search.scoring.scorer import Job, Outcome, Scorer, enqueue
from spinesearch.search.scoring.scorers import Scorers
from spinesearch.space import ArchSpec, ResNetSpec, SearchSpace

# A disk's flushes take ten times what the loop does, and change no share of a virtual clock.
_IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


def length_s(spec: ArchSpec | ResNetSpec, median_s: float, sigma: float) -> float:
    """How long a candidate takes: lognormal, decided by the network alone."""
    assert isinstance(spec, ArchSpec), "no search trains baselines here"
    return median_s * random.Random(spec.arch_id).lognormvariate(0.0, sigma)


class VirtualScorer:
    """Scores nothing; its clock jumps to the next finish.

    Args:
        num_workers: candidates at a time.
        median_s: of their lengths.
        sigma: standard deviation of the logarithm of their lengths.
        share: of a candidate's length that a job takes; with rungs it is a part.

    Attributes:
        spans: (start, end, rung) of everything that has ended.
    """

    def __init__(
        self,
        num_workers: int,
        *,
        median_s: float,
        sigma: float,
        share: Callable[[Job], float] = lambda job: 1.0,
    ) -> None:
        self._median_s, self._sigma, self._share = median_s, sigma, share
        self.spans: list[tuple[float, float, int]] = []
        self._now = 0.0
        self._free = deque(f"worker {i}" for i in range(num_workers))
        self._queue: deque[Job] = deque()
        self._finishing: list[tuple[float, int, str, float, Job]] = []  # time, trial, worker, length

    @property
    def num_running(self) -> int:
        """Number of workers that have a candidate."""
        return len(self._finishing)

    def clock(self) -> float:
        """Virtual seconds since the start."""
        return self._now

    def submit(self, job: Job) -> None:
        """Queue a candidate."""
        enqueue(self._queue, job)

    def wait(self, timeout_s: float) -> list[Outcome]:
        """The next candidate to finish, however long that takes."""
        self._start()  # not sooner: what follows from the last result may go before what was queued
        self._now, trial, worker, seconds, job = heapq.heappop(self._finishing)
        self._free.append(worker)
        self.spans.append((self._now - seconds, self._now, job.rung))
        assert isinstance(job.spec, ArchSpec)
        metrics = {"ap": random.Random(job.spec.arch_id).random()}
        return [Outcome(trial=trial, metrics=metrics, worker=worker, seconds=seconds)]

    def close(self) -> None:
        """Nothing to end."""

    def _start(self) -> None:
        while self._free and self._queue:
            job, worker = self._queue.popleft(), self._free.popleft()
            seconds = self._share(job) * length_s(job.spec, self._median_s, self._sigma)
            heapq.heappush(self._finishing, (self._now + seconds, job.trial, worker, seconds, job))


def search(
    scorer: Scorer,
    space: SearchSpace,
    controller: Controller,
    *,
    num_trials: int,
    generation_size: int,
    lag: int,
    halving: Halving = NO_RUNGS,
    observers: Callable[[Path], SearchObserver] = lambda run_dir: SearchObserver(),
    clock: Callable[[], float] = time.time,
    parent: str | None = None,
) -> Run:
    """A search as the command line carries it out: ledger and checkpoints in files, in a folder of its own.

    Args:
        scorer: scores the candidates.
        space: what they are of.
        controller: proposes them.
        num_trials: candidates.
        generation_size: candidates per update.
        lag: see `SearchPlan`.
        halving: its rungs.
        observers: gives what watches, from the run's folder.
        clock: of the results' time stamps.
        parent: folder that the run's folder is made in; None for that of temporary files.
    """
    with tempfile.TemporaryDirectory(dir=parent) as folder, Ledger(Path(folder)) as ledger:
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
            halving=halving,
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
        parent=_IN_MEMORY,
    )
    return busy_share(run.trials, num_workers)


RUNGS = (Rung(num_steps=100, share=0.33), Rung(num_steps=300, share=0.33))
NUM_STEPS = 900  # of a whole training
DECAY_AT = 0.8


def rung_share(job: Job) -> float:
    """Share of a whole training that a job takes which goes on from the constant part of the one before."""
    ends = [*(rung.num_steps for rung in RUNGS), NUM_STEPS]
    begin = int(DECAY_AT * ends[job.rung - 1]) if job.rung else 0
    return (ends[job.rung] - begin) / NUM_STEPS


def rung_busy_share(
    num_workers: int, space: PreparedSpace, *, generation_factor: float, lag: int, sigma: float
) -> float:
    """Share of the workers' time in which they train, with rungs, while there are candidates to come."""
    scorer = VirtualScorer(num_workers, median_s=600.0, sigma=sigma, share=rung_share)
    size = round(generation_factor * num_workers)
    search(
        scorer,
        space,
        InOrder(space),
        num_trials=space.size // size * size,
        generation_size=size,
        lag=lag,
        halving=Halving(rungs=RUNGS, generation_size=size),
        clock=scorer.clock,
        parent=_IN_MEMORY,
    )
    end = max(start for start, _, rung in scorer.spans if rung == 0)
    busy = sum(min(stop, end) - start for start, stop, _ in scorer.spans if start < end)
    return busy / (num_workers * end)


def print_rungs(num_workers: int, num_trials: int, sigmas: Sequence[float]) -> None:
    """Print busy shares with rungs, by lag, generation size and spread of the lengths."""
    _print_shares(rung_busy_share, num_workers, num_trials, (0, 1, 2), sigmas)


def print_simulation(num_workers: int, num_trials: int, sigmas: Sequence[float]) -> None:
    """Print busy shares by lag, generation size and spread of the lengths."""
    _print_shares(simulated_busy_share, num_workers, num_trials, (0, 1), sigmas)


def _print_shares(
    busy_share_of: Callable[..., float],
    num_workers: int,
    num_trials: int,
    lags: Sequence[int],
    sigmas: Sequence[float],
) -> None:
    factors = (1.0, 1.5, 2.0, 4.0)
    space = PreparedSpace.of_size(num_trials)
    print("| lag | spread | " + " | ".join(f"generation {factor:g} x" for factor in factors) + " |")
    print("|---" * (2 + len(factors)) + "|")
    for lag, sigma in itertools.product(lags, sigmas):
        shares = [
            busy_share_of(num_workers, space, generation_factor=factor, lag=lag, sigma=sigma)
            for factor in factors
        ]
        cells = " | ".join(f"{share:.1%}" for share in shares)
        print(f"| {lag} | {sigma:g} | {cells} |", flush=True)
