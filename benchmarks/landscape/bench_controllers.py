"""All strategies on all landscapes: `make bench-controllers`, the figures of docs/controllers.md.

python benchmarks/landscape/bench_controllers.py [--quick] [--strategies random,evolution]
    [--landscapes surrogate,table,"mixture of four"] [--seeds 20] [--sizes 8,64] [--up-to N] [--rungs]
    [--workers N] [--results FILE] [--page PAGE]

Every game (strategy, landscape, generation size, seed) is a line of the results file once it is over, so that
the command goes on where it was stopped. ``--up-to`` shortens all games but random's; a longer game
stands for a shorter one, never the other way. ``--rungs`` plays each judged landscape with a rung, too, to
150 whole trainings' worth: after a third of a training the best third goes on, by rewards of twice the noise.
``--quick`` plays two analytic landscapes with three seeds, is over
in two minutes and writes no page.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from analytic import AnalyticLandscapes
from comparison import BASELINE, BUDGETS, CHECKPOINTS, PLOT, RUNGS, plot, report
from games import NUM_LATE, Course, play, play_table
from judges import (
    SURROGATE,
    Judge,
    Rung,
    SpaceView,
    analytic_judges,
    recorded_noise,
    surrogate_judge,
)
from marked import replace_marked
from recorded import RECORDS, Landscape, load

import spinesearch
from spinesearch.controller.strategies import STRATEGIES, ControllerSettings
from spinesearch.search.config.run_config import compose, run_config

TABLE = "table"  # recorded candidates alone
VARIANTS = ("reinforce:num_imagined=4",)  # a strategy with one of its settings changed
LAG = 1
PAGE = Path(__file__).parents[2] / "docs" / "controllers.md"
RESULTS = Path("runs/bench-controllers.jsonl")
_QUICK_LANDSCAPES = ("cross-scale links", "mixture of four")
_QUICK_SEEDS, _QUICK_TRIALS = 3, 100
_RUNG_TRIALS = 150


class Game(NamedTuple):
    """What is played, and for how long."""

    strategy: str
    landscape: str
    generation_size: int
    seed: int
    num_trials: int


def main() -> int:
    """Play what has not been played, and say who won."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--strategies", type=_names, default=[*STRATEGIES, *VARIANTS])
    parser.add_argument("--landscapes", type=_names)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--sizes", type=_sizes, default=list(BUDGETS))
    parser.add_argument("--up-to", type=int)
    parser.add_argument("--rungs", action="store_true")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--results", type=Path)
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    try:
        landscapes = _landscapes(given.landscapes, given.quick)
        _check(given.strategies, given.seeds, given.workers)
        if given.up_to is not None and given.up_to < min(BUDGETS[min(BUDGETS)]):
            raise ValueError(f"--up-to: must be at least {min(BUDGETS[min(BUDGETS)])}, got {given.up_to}")
        path = given.results or (RESULTS.with_stem(f"{RESULTS.stem}-quick") if given.quick else RESULTS)
        seeds = _QUICK_SEEDS if given.quick else given.seeds
        if given.rungs:
            landscapes += [f"{name}{RUNGS}" for name in landscapes if name != TABLE]
        most = _QUICK_TRIALS if given.quick else given.up_to
        sizes = [min(BUDGETS)] if given.quick else given.sizes
        games = list(_games(given.strategies, landscapes, seeds, sizes, most))
        rows = _played(path, games, given.workers)
        text = report(rows, default=default_strategy())
        if not given.quick:
            plot(rows, given.page.parent / PLOT)
            picture = f"![Best found by the number of candidates, medians and quartiles]({PLOT})"
            replace_marked(given.page, "bench-controllers", f"{picture}\n\n{text}")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(text)
    return 0


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
    if recorded_noise(_landscape()) is None:
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
            size_of_table = len(_landscape().scores(_landscape().heads[0]["reward_metric"]).tokens)
            fits = [n for n in BUDGETS[size] if n + (1 + LAG) * size <= size_of_table]
            if not fits:
                continue
            num_trials = max(fits)
        if landscape.endswith(RUNGS):
            num_trials = min(num_trials, _RUNG_TRIALS)
        if most is not None and (strategy != BASELINE or most == _QUICK_TRIALS):
            num_trials = min(num_trials, most)
        yield Game(strategy, landscape, size, seed, num_trials)


def default_strategy() -> str:
    """The strategy of a search that names none."""
    return run_config(compose([])).controller.name


def _settings(strategy: str) -> ControllerSettings:
    name, _, setting = strategy.partition(":")
    words = [f"controller={name}", *([f"controller.{setting}"] if setting else [])]
    return run_config(compose(words)).controller


def _played(path: Path, games: Sequence[Game], workers: int) -> list[dict[str, Any]]:
    """The results of all games, from the file or played now.

    Raises:
        ValueError: the file is of other code or records.
    """
    origin = _origin()
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]  # a line that was being written when the command was stopped
    head, *rows = map(json.loads, whole.splitlines() or [json.dumps(origin)])
    if head != origin:
        raise ValueError(
            f"{path}: was played by other code or on other records; move it away, or name another file"
        )
    path.write_text(whole or json.dumps(origin) + "\n", encoding="utf-8")
    longest: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        _keep_longer(longest, row)
    left = [game for game in games if _key(game._asdict()) not in longest]
    left += [g for g in games if g not in left and longest[_key(g._asdict())]["num_trials"] < g.num_trials]
    print(f"{len(games) - len(left)} games in {path}, {len(left)} to play", file=sys.stderr)
    os.environ |= {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    fresh = multiprocessing.get_context("spawn")  # which loads numpy and torch anew, with one thread
    with path.open("a", encoding="utf-8") as file, ProcessPoolExecutor(workers, mp_context=fresh) as pool:
        for future in as_completed([pool.submit(_play, game) for game in left]):
            row = future.result()
            _keep_longer(longest, row)
            file.write(json.dumps(row) + "\n")
            file.flush()
    return [longest[_key(game._asdict())] for game in games]


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[field] for field in Game._fields if field != "num_trials")


def _keep_longer(longest: dict[tuple[Any, ...], dict[str, Any]], row: dict[str, Any]) -> None:
    if row["num_trials"] > longest.get(_key(row), {"num_trials": 0})["num_trials"]:
        longest[_key(row)] = row


def _origin() -> dict[str, str]:
    """What results depend on besides their games."""
    package = Path(spinesearch.__file__).parent
    code = [
        *Path(__file__).parent.glob("*.py"),
        *(package / "controller").rglob("*.py"),
        *(package / "conf/controller").glob("*.yaml"),
        *(package / "space").rglob("*.py"),
        package / "search/loop/generations.py",
    ]
    return {"code": _digest(code), "records": _digest(RECORDS.glob("*.jsonl.gz"))}


def _digest(paths: Iterable[Path]) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(paths))).hexdigest()[:12]


@cache
def _view() -> SpaceView:
    return SpaceView(run_config(compose([])).space.build())


@cache
def _landscape() -> Landscape:
    return load()


@cache
def _judge(name: str) -> Judge:
    """A judge, built once per process."""
    if name == SURROGATE:
        return surrogate_judge(_landscape())
    return next(judge for judge in _analytic() if judge.name == name)


@cache
def _analytic() -> list[Judge]:
    return analytic_judges(_view().space)


def _play(game: Game) -> dict[str, Any]:
    """One game's line."""
    arguments: dict[str, Any] = {
        "generation_size": game.generation_size,
        "lag": LAG,
        "num_trials": game.num_trials,
        "seed": game.seed,
    }
    settings = _settings(game.strategy)
    if game.landscape == TABLE:
        course = play_table(settings, _landscape(), _view(), **arguments)
    else:
        judge = _judge(game.landscape.removesuffix(RUNGS))
        rung = Rung() if game.landscape.endswith(RUNGS) else None
        course = play(settings, judge, _view(), rung=rung, **arguments)
    return {**game._asdict(), **_summary(course)}


def _summary(course: Course) -> dict[str, Any]:
    counts = {n: course.counts[n - 1] for n in CHECKPOINTS if n <= len(course.counts)}
    late = {n: course.values[max(0, count - NUM_LATE) : count] for n, count in counts.items()}
    return {
        "best": {str(n): round(course.best[n - 1], 6) for n in counts},
        "late": {str(n): round(float(np.mean(values)), 6) for n, values in late.items()},
        "duplicates": {str(n): round(float(np.mean(course.duplicates[:k])), 4) for n, k in counts.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
