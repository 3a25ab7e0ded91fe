"""All strategies on all landscapes: `make bench-controllers`, the figures of docs/controllers.md.

python benchmarks/landscape/bench_controllers.py [--quick] [--strategies random,evolution]
    [--landscapes surrogate,table,"mixture of four"] [--seeds 20] [--sizes 8,64] [--up-to N] [--rungs]
    [--workers N] [--results FILE] [--page PAGE] [--on-file]

Every game (strategy, landscape, generation size, seed) is a line of the results file once it is over, so that
the command goes on where it was stopped (`played.py`); played.jsonl beside this file holds published ones.
What was asked for is printed; the page, with its plot, and the README tell of all that is on file.
``--up-to`` shortens all games but random's; a longer game stands for a shorter one, never the other way.
``--rungs`` plays each judged landscape with a rung, too, to 150 whole trainings' worth by generations of 8:
after a third of a training the best third goes on, by rewards of twice the noise. ``--on-file`` plays
nothing. Only games of which all seeds were played are reported. ``--quick`` plays two analytic landscapes
with three seeds to 100 candidates, is over in two minutes and writes no page.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from analytic import AnalyticLandscapes
from comparison import BASELINE, BUDGETS, PLOT, RUNGS, Rows, overview, plot, report, verdicts
from judges import SURROGATE, recorded_noise
from marked import replace_marked
from one_game import LAG, TABLE, Game, recorded_candidates, settings_of
from played import on_file, played
from recorded import RECORDS

from spinesearch.controller.strategies import STRATEGIES
from spinesearch.search.config.run_config import compose, run_config

# Strategies with one of their settings changed: imagined candidates; the policy of reinforce under PPO.
VARIANTS = ("reinforce:num_imagined=4", "ppo:encoding=sequence")
ROOT = Path(__file__).parents[2]
PAGE, README = ROOT / "docs" / "controllers.md", ROOT / "README.md"
RESULTS = Path(__file__).with_name("played.jsonl")
QUICK_RESULTS = Path("runs/bench-controllers-quick.jsonl")
_QUICK_LANDSCAPES = ("cross-scale links", "mixture of four")
_QUICK_SEEDS, _QUICK_TRIALS = 3, 100
_RUNG_TRIALS = 150
_PICTURE = "![Best found by the number of candidates, medians and quartiles]"


def main() -> int:
    """Play what has not been played, and say who won."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--strategies", type=_names)
    parser.add_argument("--landscapes", type=_names)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--sizes", type=_sizes, default=list(BUDGETS))
    parser.add_argument("--up-to", type=int)
    parser.add_argument("--rungs", action="store_true")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--results", type=Path)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--on-file", action="store_true")
    given = parser.parse_args()
    try:
        landscapes = _landscapes(given.landscapes, given.quick)
        strategies = given.strategies or [*STRATEGIES, *(() if given.quick else VARIANTS)]
        _check(strategies, given.seeds, given.workers)
        if given.up_to is not None and given.up_to < min(BUDGETS[min(BUDGETS)]):
            raise ValueError(f"--up-to: must be at least {min(BUDGETS[min(BUDGETS)])}, got {given.up_to}")
        path = given.results or (QUICK_RESULTS if given.quick else RESULTS)
        seeds = _QUICK_SEEDS if given.quick else given.seeds
        if given.rungs:
            landscapes += [f"{name}{RUNGS}" for name in landscapes if name != TABLE]
        most = _QUICK_TRIALS if given.quick else given.up_to
        sizes = [min(BUDGETS)] if given.quick else given.sizes
        games = list(_games(strategies, landscapes, seeds, sizes, most))
        rows = _of_all_seeds(played(path, games, 0 if given.on_file else given.workers), seeds)
        if not rows:
            raise ValueError(f"--on-file: no such game has all {seeds} seeds in {path}; play them without it")
        if not given.quick:
            _write(given.page, path, [*strategies, *STRATEGIES, *VARIANTS], seeds)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; what was over is on file, and the same command plays the rest", file=sys.stderr)
        return 130
    print(report(rows, default=default_strategy()))
    return 0


def _write(page: Path, path: Path, strategies: Sequence[str], seeds: int) -> None:
    """Plot and tables of all games on file, whichever were wanted now, into the page and the README."""
    landscapes = _landscapes(None, quick=False)
    landscapes += [f"{name}{RUNGS}" for name in landscapes if name != TABLE]
    games = list(_games(list(dict.fromkeys(strategies)), landscapes, seeds, list(BUDGETS), None))
    rows, default = _of_all_seeds(on_file(path, games), seeds), default_strategy()
    plot(rows, page.parent / PLOT)
    tables = f"{verdicts(rows, default=default)}\n\n{report(rows, default=default)}"
    replace_marked(page, "bench-controllers", f"{_PICTURE}({PLOT})\n\n{tables}")
    if page == PAGE:
        table = overview(rows, default=default)
        replace_marked(README, "bench-controllers", f"{_PICTURE}({Path('docs') / PLOT})\n\n{table}")


def _of_all_seeds(rows: Rows, num_seeds: int) -> list[Mapping[str, Any]]:
    """The games of a strategy on a landscape by generations of one size, where all seeds are there."""

    def kind(row: Mapping[str, Any]) -> tuple[Any, ...]:
        return row["strategy"], row["landscape"], row["generation_size"]

    counts = Counter(map(kind, rows))
    return [row for row in rows if counts[kind(row)] == num_seeds]


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _sizes(text: str) -> list[int]:
    sizes = [int(size) for size in text.split(",")]
    if not set(sizes) <= set(BUDGETS):
        raise argparse.ArgumentTypeError(f"{text} is not of {', '.join(map(str, BUDGETS))}")
    return sizes


def _check(strategies: Sequence[str], seeds: int, workers: int) -> None:
    for name in strategies:
        if name.partition(":")[0] not in STRATEGIES:
            raise ValueError(f"--strategies: {name} is none of {', '.join(STRATEGIES)}")
        settings_of(name)
    if seeds < 2 or workers < 1:
        raise ValueError(
            f"--seeds must be at least 2 and --workers at least 1, got {seeds} and {workers}; "
            "intervals are over seeds"
        )


def _landscapes(wanted: Sequence[str] | None, quick: bool) -> list[str]:
    """The names of what is played on; what needs records only if there are any, or it is asked for."""
    known = [*AnalyticLandscapes.names, SURROGATE, TABLE]
    for name in wanted or ():
        if name not in known:
            raise ValueError(f"--landscapes: {name} is none of {', '.join(known)}")
    if wanted or quick:
        return list(wanted or _QUICK_LANDSCAPES)
    if not any(RECORDS.glob("*.jsonl.gz")):
        print(f"{RECORDS}: nothing recorded: analytic landscapes alone", file=sys.stderr)
        return list(AnalyticLandscapes.names)
    if recorded_noise(recorded_candidates()) is None:
        print(
            f"{RECORDS}: the noise is not known, as no networks have several seeds: no surrogate",
            file=sys.stderr,
        )
        known.remove(SURROGATE)
    return known


def _games(
    strategies: Sequence[str],
    landscapes: Sequence[str],
    num_seeds: int,
    sizes: Sequence[int],
    most: int | None,
) -> Iterator[Game]:
    """All games, seed by seed, so that what is done when the command is stopped is of all strategies.

    Those of random are never shortened: they are short, and what it has found at their end is an aim.
    """
    for seed, landscape, size, strategy in itertools.product(range(num_seeds), landscapes, sizes, strategies):
        num_trials = max(BUDGETS[size])
        if landscape == TABLE:
            on_record = recorded_candidates()
            size_of_table = len(on_record.scores(on_record.heads[0]["reward_metric"]).tokens)
            fits = [n for n in BUDGETS[size] if n + (1 + LAG) * size <= size_of_table]
            if not fits:
                continue
            num_trials = max(fits)
        if landscape.endswith(RUNGS):
            if min(BUDGETS[size]) > _RUNG_TRIALS:
                continue
            num_trials = min(num_trials, _RUNG_TRIALS)
        if most is not None and (strategy != BASELINE or most == _QUICK_TRIALS):
            num_trials = min(num_trials, most)
        yield Game(strategy, landscape, size, seed, num_trials)


def default_strategy() -> str:
    """The strategy of a search that names none."""
    return run_config(compose([])).controller.name


if __name__ == "__main__":
    sys.exit(main())
