"""How fast strategies propose, and how much memory a proposal takes: the aims of docs/controllers.md.

``python benchmarks/landscape/controller_speed.py`` takes some four minutes. In the paper's space: proposals a
second on one core, including masks, decoding, identity and cost; a generation of 64 by `bayesian` with 2,000
results; bytes that a strategy keeps of each of ``--proposals``. Rewards are random: what is measured does not
depend on them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from marked import markdown_table

from spinesearch.controller import Controller, Rollout, Suggestion
from spinesearch.controller.strategies import STRATEGIES
from spinesearch.data.parallel import processor_name
from spinesearch.search.workers.worker import own_memory_bytes
from spinesearch.space import SpineNetSpace, backbone_cost

_GENERATION = 64
_NUM_RESULTS = 2000
_REPEATS = 5
_GENERATIONS = 5  # of a repeat
# Strategies that are meant for as many candidates as the paper's.
_OF_THOUSANDS = ("random", "evolution", "reinforce")


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
    """Median of some rounds of some generations, none of which counts its update."""
    controller, rng = STRATEGIES[name]().build(space, seed=0), np.random.default_rng(0)
    learn(controller, controller.suggest(_GENERATION), 0, rng)
    rates, first = [], _GENERATION
    for _ in range(_REPEATS):
        seconds = 0.0
        for _ in range(_GENERATIONS):
            begun = time.perf_counter()
            suggestions = controller.suggest(_GENERATION)
            for suggestion in suggestions:
                backbone_cost(space.decode(suggestion.tokens), 640)
                space.identity(suggestion.tokens)
            seconds += time.perf_counter() - begun
            learn(controller, suggestions, first, rng)
            first += _GENERATION
        rates.append(_GENERATIONS * _GENERATION / seconds)
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


def bytes_per_proposal(name: str, count: int) -> float:
    """By how much this process grows with each proposal, after the first tenth, which fills caches.

    Proposals are random networks that the strategy is given; it takes them down as it does its own. Every
    tenth generation is learnt from, by `bayesian` every one.
    """
    space = SpineNetSpace()
    controller, rng = STRATEGIES[name]().build(space, seed=0), np.random.default_rng(0)
    marks: list[tuple[int, int]] = []
    for first in range(0, count, _GENERATION):
        if first >= count // 10 and not marks:
            marks.append((first, own_memory_bytes()))
        given = [space.sample(rng) for _ in range(_GENERATION)]
        if name == "bayesian":  # what it keeps of a proposal is its result
            learn(controller, [Suggestion(tokens=tokens) for tokens in given], first, rng)
            continue
        suggestions = controller.suggest(_GENERATION, given=given)
        if first // _GENERATION % 10 == 0:
            learn(controller, suggestions, first, rng)
    marks.append((first + _GENERATION, own_memory_bytes()))
    (begun, before), (ended, after) = marks
    return (after - before) / (ended - begun)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--proposals", type=int, default=100_000, help="for the memory; at least 1,000")
    options = parser.parse_args()
    if options.proposals < 1000:
        parser.error(f"--proposals: must be at least 1000, got {options.proposals}")
    os.environ |= {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    space = SpineNetSpace()
    rates = {name: f"{proposals_per_s(name, space):,.0f}" for name in STRATEGIES if name != "bayesian"}
    seconds = seconds_of_a_generation(space)
    counts = {**dict.fromkeys(_OF_THOUSANDS, options.proposals), "bayesian": _NUM_RESULTS}
    # Each strategy in a process of its own, where nothing else grows.
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(counts), mp_context=fresh, max_tasks_per_child=1) as pool:
        sizes = dict(zip(counts, pool.map(bytes_per_proposal, counts, counts.values()), strict=True))
    print(f"{processor_name()}, Python {platform.python_version()}\n")
    rows = [
        [name, rates.get(name, ""), f"{sizes[name]:.0f} over {counts[name]:,}" if name in sizes else ""]
        for name in STRATEGIES
    ]
    print(markdown_table(["strategy", "proposals/s on one core", "bytes per proposal"], rows))
    spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
    print(
        f"\nbayesian: {statistics.median(seconds):.2f} s ({spread}) for a generation of {_GENERATION} with "
        f"{_NUM_RESULTS:,} results"
    )


if __name__ == "__main__":
    main()
