"""Scores that are made up, and a scorer with them of real behaviour."""

from __future__ import annotations

import hashlib
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from spinesearch.proxy_task.request import WHOLE, TrainingRequest
from spinesearch.search.scoring.scorer import Job, Outcome, Score, enqueue, run_job
from spinesearch.space import ArchSpec, ResNetSpec

WHOLE_STEPS = 90  # of a whole training of `RungScore`


def fake_score(spec: ArchSpec, seed: int) -> dict[str, float]:
    """A reward that depends on the network and the seed alone; one network in nine fails."""
    if _hash(spec, seed) % 9 == 0:
        raise ArithmeticError(f"the loss of {spec.arch_id} is not finite")
    return healthy_score(spec, seed)


def healthy_score(spec: ArchSpec, seed: int) -> dict[str, float]:
    """As `fake_score`, but no network fails."""
    value = _hash(spec, seed)
    return {"ap": value / 2**32, "ap50": value / 2**31}


def scored(spec: ArchSpec | ResNetSpec, seed: int) -> dict[str, float]:
    """As `healthy_score`, of a ResNet too."""
    return {"ap": 0.4, "ap50": 0.8} if isinstance(spec, ResNetSpec) else healthy_score(spec, seed)


@dataclass
class Scoring:
    """A `FlexibleScore` of a function, whose trainings leave their seed for weights."""

    score: Callable[[ArchSpec | ResNetSpec, int], dict[str, float]] = scored

    def __call__(self, spec: ArchSpec | ResNetSpec, seed: int) -> dict[str, float]:
        return self.score(spec, seed)

    def train(
        self, spec: ArchSpec | ResNetSpec, seed: int, request: TrainingRequest
    ) -> tuple[dict[str, float], dict[str, bytes]]:
        return self(spec, seed), {name: str(seed).encode() for name in request.wants}


def _hash(spec: ArchSpec, seed: int) -> int:
    return int(hashlib.sha256(f"{spec.arch_id}{seed}".encode()).hexdigest()[:8], 16)


class RungScore:
    """A `FlexibleScore` whose metrics depend on the length of the training too; see `fake_score`.

    One network in nine fails at some length. What goes on from a state checks that it is its own.
    """

    def __init__(self) -> None:
        self.num_steps: list[int] = []  # that each call took

    def __call__(self, spec: ArchSpec, seed: int) -> dict[str, float]:
        return self.train(spec, seed, WHOLE)[0]

    def train(
        self, spec: ArchSpec, seed: int, request: TrainingRequest
    ) -> tuple[dict[str, float], dict[str, bytes]]:
        num_steps, begin = request.num_steps or WHOLE_STEPS, 0
        if request.state is not None:
            arch_id, _, steps = request.state.decode().partition(" ")
            assert arch_id == spec.arch_id
            begin = int(steps)
            assert 0 < begin < num_steps
        self.num_steps.append(num_steps - begin)
        if _hash(spec, seed) % 9 == 0 and num_steps > _hash(spec, seed) % WHOLE_STEPS:
            raise ArithmeticError(f"the loss of {spec.arch_id} is not finite")
        value = (_hash(spec, seed) + _hash(spec, num_steps)) / 2**33
        files = {name: f"{spec.arch_id} {num_steps}".encode() for name in request.wants}
        return {"ap": 0.2 * value + 0.8 * num_steps / WHOLE_STEPS, "num_steps": num_steps}, files


class FakeScorer:
    """``num_workers`` at a time, finishing in random order, each submission recorded.

    Args:
        num_workers: candidates at a time.
        order: seed of the random order.
        delay_s: mean time a `wait` takes.
        score: scores a candidate.
    """

    def __init__(
        self, num_workers: int = 2, order: int = 0, delay_s: float = 0.0, score: Score = fake_score
    ) -> None:
        self._score = score
        self._num_workers = num_workers
        self._rng = random.Random(order)
        self._delay_s = delay_s
        self._queue: deque[Job] = deque()
        self.submitted: list[int] = []

    @property
    def num_running(self) -> int:
        return min(self._num_workers, len(self._queue))

    def submit(self, job: Job) -> None:
        self.submitted.append(job.trial)
        enqueue(self._queue, job)

    def wait(self, timeout_s: float) -> list[Outcome]:
        if self._delay_s:
            time.sleep(self._rng.uniform(0, 2 * self._delay_s))
        if not self.num_running:
            return []
        count = self._rng.randint(1, self.num_running)
        finished = []
        for _ in range(count):
            finished.append(self._queue[place := self._rng.randrange(self.num_running)])
            del self._queue[place]
        return [run_job(self._score, job.handed_out(), "fake") for job in finished]

    def close(self) -> None:
        pass
