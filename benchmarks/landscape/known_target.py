"""How surely strategies learn a known target: the failure rate that the conformance suite states.

``python benchmarks/landscape/known_target.py [--seeds 20] [--strategies evolution,ppo]`` takes 12 minutes or
so of a core. The reward is the share of choices that are SpineNet-49's, with noise; rewards come one
generation late, and the settings are those that the configuration has. A search has failed if its last 80
candidates have less than `LEARNT` of the target on average.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import statistics
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from marked import markdown_table

from spinesearch.controller import Rollout
from spinesearch.controller.strategies import STRATEGIES
from spinesearch.space import SPINENET_49, SpineNetSpace

LEARNT = 0.41  # of random candidates .33 is right, with a deviation of .05 each
_NOISE_SD = 0.02
_NUM_GENERATIONS, _GENERATION_SIZE = 40, 8
_NUM_EARLY, _NUM_LATE = 16, 80


class Shares(NamedTuple):
    """The share of choices that are the target's.

    Attributes:
        early: mean of the first 16 candidates, which know of no result.
        late: mean of the last 80 of 320.
    """

    early: float
    late: float


def search_for_target(name: str, seed: int) -> Shares:
    """What a strategy with its default settings has learnt."""
    space = SpineNetSpace()
    target = np.array(space.encode(SPINENET_49))
    controller = STRATEGIES[name]().build(space, seed=seed)
    noise = random.Random(seed)
    pending: list[list[Rollout]] = []
    shares: list[float] = []
    for _ in range(_NUM_GENERATIONS):
        if len(pending) > 1:
            controller.update(pending.pop(0))
        told = []
        for s in controller.suggest(_GENERATION_SIZE):
            shares.append(float((np.array(s.tokens) == target).mean()))
            reward = shares[-1] + noise.gauss(0, _NOISE_SD)
            trial = len(shares) - 1
            told.append(
                Rollout(trial=trial, tokens=s.tokens, log_probs=s.log_probs, info=s.info, reward=reward)
            )
        pending.append(told)
    return Shares(statistics.mean(shares[:_NUM_EARLY]), statistics.mean(shares[-_NUM_LATE:]))


def main() -> None:
    """Print a row per strategy."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    learning = [name for name in STRATEGIES if name != "random"]
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--strategies", default=",".join(learning))
    options = parser.parse_args()
    names = options.strategies.split(",")
    if options.seeds < 2 or not set(names) <= set(STRATEGIES):
        parser.error(f"give at least 2 seeds, and of the strategies {', '.join(STRATEGIES)}")
    os.environ |= {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    rows = []
    fresh = multiprocessing.get_context("spawn")  # which loads numpy and torch anew, with one thread
    with ProcessPoolExecutor(mp_context=fresh) as pool:
        for name in names:
            late = [s.late for s in pool.map(partial(search_for_target, name), range(options.seeds))]
            mean, sd = statistics.mean(late), statistics.stdev(late)
            num_failed = sum(value < LEARNT for value in late)
            chance = statistics.NormalDist(mean, max(sd, 1e-9)).cdf(LEARNT)
            rows.append(
                [name, f"{mean:.3f}", f"{sd:.3f}", f"{min(late):.3f}", f"{num_failed}", f"{chance:.0e}"]
            )
            print(f"{name}: {mean:.3f}, lowest {min(late):.3f}", flush=True)
    head = ["strategy", "mean", "deviation", "lowest", f"failed of {options.seeds}", "chance, if normal"]
    print(markdown_table(head, rows))


if __name__ == "__main__":
    main()
