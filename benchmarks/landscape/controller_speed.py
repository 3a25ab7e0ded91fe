"""How fast strategies propose, and how much memory a proposal takes: the aims of docs/controllers.md.

``python benchmarks/landscape/controller_speed.py``: on one core and in the paper's space, proposals a second
including masks, decoding, identity and cost; a generation of 64 by `bayesian` with 2,000 results; bytes per
proposal over ``--proposals`` ones. Rewards are random: what is timed does not depend on them.
"""

from __future__ import annotations

import argparse
import statistics
import time
import tracemalloc

import numpy as np

from spinesearch.controller import Controller, Rollout, Suggestion
from spinesearch.controller.strategies import STRATEGIES
from spinesearch.space import SpineNetSpace, backbone_cost

_GENERATION = 64
_NUM_RESULTS = 2000
_REPEATS = 5


def learn(
    controller: Controller, suggestions: list[Suggestion], first: int, rng: np.random.Generator
) -> None:
    """One update with random rewards."""
    told = []
    for trial, s in enumerate(suggestions, start=first):
        reward = float(rng.normal(0.2, 0.05))
        told.append(Rollout(trial=trial, tokens=s.tokens, log_probs=s.log_probs, info=s.info, reward=reward))
    controller.update(told)


def proposals_per_s(name: str, space: SpineNetSpace) -> float:
    """Median of some rounds of ten generations, none of which counts its update."""
    controller, rng = STRATEGIES[name]().build(space, seed=0), np.random.default_rng(0)
    learn(controller, controller.suggest(_GENERATION), 0, rng)
    rates, first = [], _GENERATION
    for _ in range(_REPEATS):
        seconds = 0.0
        for _ in range(10):
            begun = time.perf_counter()
            suggestions = controller.suggest(_GENERATION)
            for suggestion in suggestions:
                backbone_cost(space.decode(suggestion.tokens), 640)
                space.identity(suggestion.tokens)
            seconds += time.perf_counter() - begun
            learn(controller, suggestions, first, rng)
            first += _GENERATION
        rates.append(10 * _GENERATION / seconds)
    return statistics.median(rates)


def seconds_of_a_generation(space: SpineNetSpace) -> list[float]:
    """Of `bayesian`, refit included, with results in plenty."""
    controller, rng = STRATEGIES["bayesian"]().build(space, seed=0), np.random.default_rng(0)
    tokens = [space.sample(rng) for _ in range(_NUM_RESULTS)]
    learn(controller, [Suggestion(tokens=t) for t in tokens], 0, rng)
    seconds = []
    for _ in range(_REPEATS):
        begun = time.perf_counter()
        controller.suggest(_GENERATION)
        seconds.append(time.perf_counter() - begun)
    return seconds


def bytes_per_proposal(name: str, space: SpineNetSpace, count: int) -> float:
    """What a strategy keeps, by the growth of Python's memory."""
    controller, rng = STRATEGIES[name]().build(space, seed=0), np.random.default_rng(0)
    learn(controller, controller.suggest(_GENERATION), 0, rng)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for first in range(_GENERATION, count, _GENERATION):
        learn(controller, controller.suggest(_GENERATION), first, rng)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / count


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--proposals", type=int, default=100_000, help="for the memory; 0 leaves it out")
    options = parser.parse_args()
    space = SpineNetSpace()
    for name in STRATEGIES:
        if name != "bayesian":
            print(f"{name}: {proposals_per_s(name, space):,.0f} proposals/s", flush=True)
    seconds = seconds_of_a_generation(space)
    spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
    print(
        f"bayesian: {statistics.median(seconds):.2f} s ({spread}) for {_GENERATION}, {_NUM_RESULTS:,} results"
    )
    for name in ("random", "evolution") if options.proposals else ():
        print(f"{name}: {bytes_per_proposal(name, space, options.proposals):.0f} bytes/proposal", flush=True)


if __name__ == "__main__":
    main()
