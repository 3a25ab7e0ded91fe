"""Searches with a fake scorer of real behaviour, and a process that runs them on demand to be killed.

``python fake_search.py`` imports everything once; for each line ``RUN_DIR SEED NUM_TRIALS CONTROLLER`` on its
standard input, with ``rungs`` behind it for a search with rungs, forks a child that carries that run to its
end; it answers with the child's process id and, when the child has ended, its exit code.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import operator
import os
import random
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from spinesearch.controller import Controller
from spinesearch.controller.bayesian import BayesianSettings
from spinesearch.controller.evolution import EvolutionSettings
from spinesearch.controller.local_search import LocalSearchSettings
from spinesearch.controller.strategies import STRATEGIES
from spinesearch.proxy_task.request import WHOLE, TrainingRequest
from spinesearch.results.ledger.ledger import LEDGER_NAME, Ledger
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import Trial
from spinesearch.search.config.rungs import Rung
from spinesearch.search.loop.checkpoint import Checkpoints, state_digest
from spinesearch.search.loop.controlled import ControlledCandidates, SearchPlan
from spinesearch.search.loop.finalists import FinalistPlan, Finalists, SearchWithFinalists
from spinesearch.search.loop.loop import run_loop
from spinesearch.search.loop.observer import Observers, SearchObserver
from spinesearch.search.loop.rungs import NO_RUNGS, Halving
from spinesearch.search.loop.source import CandidateSource
from spinesearch.search.runs.mirror import Mirror
from spinesearch.search.scoring.scorer import Job, Outcome, Score, Scorer, enqueue, run_job
from spinesearch.search.scoring.scorers import Scorers
from spinesearch.search.watchers.mirror_observer import MirrorObserver
from spinesearch.space import BLOCK_TYPES, SPINENET_49, ArchSpec, Decision, ResNetSpec


class TypesOnly:
    """SpineNet-49 with the types of its last six intermediate blocks to choose, no three residuals in a row.

    44 networks: small enough for duplicates, with masks that matter.
    """

    name = "types_only"
    decisions = tuple(Decision(i, "type", 2) for i in range(6, 12))
    num_choices = (2,) * 6
    size = 44

    def choice_mask(self, prefix: Sequence[int]) -> tuple[bool, ...]:
        return True, tuple(prefix[-2:]) != (1, 1)

    def choice_weights(self, prefix: Sequence[int]) -> tuple[int, ...]:
        begun = [(*prefix, choice) for choice in (0, 1)]
        return tuple(sum(tokens[: len(start)] == start for tokens in ALL_TOKENS) for start in begun)

    def decode(self, tokens: Sequence[int]) -> ArchSpec:
        blocks = list(SPINENET_49.blocks)
        for i, token in enumerate(tokens, start=4):
            blocks[i] = replace(blocks[i], block_type=BLOCK_TYPES[token])
        return replace(SPINENET_49, blocks=tuple(blocks), name="")

    def encode(self, spec: ArchSpec) -> tuple[int, ...]:
        return tuple(BLOCK_TYPES.index(block.block_type) for block in spec.blocks[4:10])

    def sample(self, rng: np.random.Generator) -> tuple[int, ...]:
        while True:  # uniform by rejection
            tokens = tuple(rng.integers(2, size=6).tolist())
            if (1, 1, 1) not in zip(tokens, tokens[1:], tokens[2:], strict=False):
                return tokens

    def mutate(self, tokens: Sequence[int], rng: np.random.Generator) -> tuple[int, ...]:
        near = [t for t in ALL_TOKENS if sum(map(operator.ne, t, tokens)) == 1]
        return near[int(rng.integers(len(near)))]

    def features(self, tokens: Sequence[int]) -> tuple[float, ...]:
        return tuple(map(float, tokens))

    def identity(self, tokens: Sequence[int]) -> str:
        return self.decode(tokens).arch_id


ALL_TOKENS = [
    tokens
    for tokens in itertools.product((0, 1), repeat=6)
    if (1, 1, 1) not in zip(tokens, tokens[1:], tokens[2:], strict=False)
]
SPACE = TypesOnly()
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


RUNGS = Halving(
    rungs=(Rung(num_steps=10, share=0.4), Rung(num_steps=30, share=0.5)), generation_size=8, goes_on=True
)


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


class Warnings(SearchObserver):
    """Remembers what a search warned of."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def warned(self, message: str) -> None:
        self.messages.append(message)


# Under which strategies learn within a few small generations.
QUICK = {
    "evolution": EvolutionSettings(population_size=8, tournament_size=3),
    "local_search": LocalSearchSettings(patience=7),
    "bayesian": BayesianSettings(num_initial=6, num_looked_at=32, num_rounds=2),
}


def build_controller(name: str, seed: int) -> Controller:
    return QUICK.get(name, STRATEGIES[name]()).build(SPACE, seed=seed)


def only(scorer: Scorer) -> Scorers:
    """The one scorer, on whatever side."""
    return Scorers(lambda side: contextlib.nullcontext(scorer))


def carry_out(
    run_dir: Path,
    *,
    seed: int = 0,
    num_trials: int = 40,
    controller: str = "reinforce",
    scorer: Scorer | None = None,
    lag: int = 1,
    generation_size: int = 4,
    max_failed_share: float = 1.0,
    observer: SearchObserver | None = None,
    mirror: Mirror | None = None,
    halving: Halving = NO_RUNGS,
    finalists: FinalistPlan | None = None,
    searches: bool = True,
    retries: bool = False,
) -> tuple[Run, str]:
    """Begin or continue a run with the fake scorer; the run and the digest of the controller's last state."""
    watching = observer or SearchObserver()
    with Ledger(run_dir) as ledger:
        if mirror is not None:
            mirror.pull(ledger, mirror.read(), run_dir, watching.warned)
            watching = Observers([watching, MirrorObserver(mirror, run_dir, ledger, watching.warned)])
        run = Run.from_events(run_dir / LEDGER_NAME, ledger.contents.events)
        if not run.sessions:
            event = {"event": "run", "config": {}, "time": time.time()}
            ledger.append([event])
            run.apply(event)
        chosen = build_controller(controller, seed)
        plan = SearchPlan(
            seed=seed,
            num_trials=num_trials,
            generation_size=generation_size,
            lag=lag,
            reward_metric="ap",
            failed_reward=0.0,
            max_failed_share=max_failed_share,
            halving=halving,
            learns=controller != "random",
        )
        source: CandidateSource
        source = search = ControlledCandidates(
            plan, SPACE, chosen, Checkpoints(run_dir, keep=lag + 2), retries=retries
        )
        if finalists is not None:
            source = SearchWithFinalists(search, Finalists(finalists, SPACE), searches=searches)
        run_loop(
            source=source,
            space=SPACE,
            scorers=only(scorer or FakeScorer()),
            ledger=ledger,
            run=run,
            observer=watching,
        )
        return run, state_digest(chosen.state_dict())


def proposals(run: Run) -> str:
    return json.dumps([(t.trial, t.generation, t.tokens, t.log_probs, t.arch_id) for t in run.trials])


def results(run: Run) -> str:
    return json.dumps(
        [
            (t.trial, t.status, t.reward, dict(t.metrics), t.duplicate_of, t.reason, t.is_stopped, rungs(t))
            for t in run.trials
        ]
    )


def rungs(trial: Trial) -> list[tuple[object, ...]]:
    return [(part.num_steps, dict(part.metrics), part.duplicate_of) for part in trial.rungs]


def updates(run: Run) -> str:
    return json.dumps([(u.update, dict(u.stats), u.digest) for u in run.updates])


def everything(outcome: tuple[Run, str]) -> tuple[str, str, str, str]:
    run, digest = outcome
    return proposals(run), results(run), updates(run), digest


def serve() -> None:
    """Run searches in forked children until standard input ends."""
    build_controller("reinforce", 0).suggest(1)  # what is slow the first time
    print("ready", flush=True)
    for line in sys.stdin:
        run_dir, seed, num_trials, controller, *rungs = line.split()
        child = os.fork()
        if child == 0:
            # The order in which workers finish differs every time.
            score = RungScore() if rungs else fake_score
            scorer = FakeScorer(num_workers=3, order=os.getpid(), delay_s=0.004, score=score)
            carry_out(
                Path(run_dir),
                seed=int(seed),
                num_trials=int(num_trials),
                controller=controller,
                scorer=scorer,
                **({"halving": RUNGS, "generation_size": RUNGS.generation_size} if rungs else {}),
            )
            os._exit(0)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
