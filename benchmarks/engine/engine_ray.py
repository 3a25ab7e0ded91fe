"""The Ray that `engine_speed.py` measures on, its workers and what they do."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import ray
from engine_simulation import length_s

from spinesearch.search.scoring.scorer import Job, OpenScore, Outcome, Score
from spinesearch.search.workers.ray_scorer import RayScorer
from spinesearch.search.workers.trial_resources import TrialResources
from spinesearch.space import ArchSpec, ResNetSpec

NUM_CPUS = 2  # whatever the machine has: the figures are those of two cores


def open_instant() -> Score:
    """A task that takes no time."""
    return lambda spec, seed: {"ap": 0.0}


def open_sleeping(median_s: float, sigma: float) -> Score:
    """A task that sleeps as long as the candidate takes."""

    def score(spec: ArchSpec | ResNetSpec, seed: int) -> dict[str, float]:
        time.sleep(length_s(spec, median_s, sigma))
        return {"ap": 0.0}

    return score


@contextlib.contextmanager
def local_ray() -> Iterator[None]:
    """A Ray of our own."""
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:  # Ray's sockets need a short path
        ray.init(
            address="local",
            num_cpus=NUM_CPUS,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=80 * 1024**2,
            _temp_dir=folder,
            runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}},
        )
        try:
            yield
        finally:
            ray.shutdown()


def open_workers(open_score: OpenScore, num_workers: int) -> RayScorer:
    """So many workers, which share the processors."""
    return RayScorer(
        open_score,
        num_workers=num_workers,
        resources=TrialResources(cpus=NUM_CPUS / num_workers),
        max_attempts=3,
        warn=partial(print, file=sys.stderr),
    )


class _Echo:
    """An actor that gives back what it gets."""

    def answer(self, job: Job) -> Job:
        return job


def bare_rate(num_calls: int, spec: ArchSpec) -> float:
    """Calls per second of Ray's actors with nothing around them, each actor with one call at a time."""
    actors: list[Any] = [ray.remote(num_cpus=1)(_Echo).remote() for _ in range(NUM_CPUS)]
    job = Job(trial=0, spec=spec, seed=0)
    ray.get([actor.answer.remote(job) for actor in actors])  # they have started
    running = {actor.answer.remote(job): actor for actor in actors}
    start = time.perf_counter()
    for _ in range(num_calls):
        (done, *_), _ = ray.wait([*running], num_returns=1)
        ray.get(done)
        actor = running.pop(done)
        running[actor.answer.remote(job)] = actor
    rate = num_calls / (time.perf_counter() - start)
    for actor in actors:
        ray.kill(actor)
    return rate


def wait_for_workers(scorer: RayScorer, num_workers: int, spec: ArchSpec) -> None:
    """Keep all workers that there are busy until there are so many."""
    seen: set[str] = set()
    num_out = 0
    while len(seen) < num_workers or num_out:
        while num_out < num_workers and len(seen) < num_workers:
            scorer.submit(Job(trial=-1, spec=spec, seed=0))
            num_out += 1
        for ended in scorer.wait(1.0):
            if isinstance(ended, Outcome):
                num_out -= 1
                seen.add(ended.worker)
