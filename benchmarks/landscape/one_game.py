"""A game by its name: `Game`, and `play_game`, what a strategy found in it as a line of the results file."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from comparison import CHECKPOINTS, RUNGS
from games import NUM_LATE, Course, play, play_table
from judges import SURROGATE, Judge, Rung, SpaceView, analytic_judges, surrogate_judge
from recorded import Landscape, load

from spinesearch.controller.strategies import ControllerSettings
from spinesearch.search.config.run_config import compose, run_config

TABLE = "table"  # recorded candidates alone
LAG = 1


class Game(NamedTuple):
    """What is played, and for how long.

    Attributes:
        strategy: its name, or ``NAME:SETTING=VALUE``, one with a setting changed.
        landscape: of `AnalyticLandscapes`, `SURROGATE`, `TABLE`; the judged ones also with `RUNGS` behind.
        generation_size: candidates per update.
        seed: of strategy and noise.
        num_trials: candidates, with rungs whole trainings' worth of them.
    """

    strategy: str
    landscape: str
    generation_size: int
    seed: int
    num_trials: int

    @property
    def needs_records(self) -> bool:
        """Whether recorded candidates decide its course."""
        return self.landscape.removesuffix(RUNGS) in (SURROGATE, TABLE)


def play_game(game: Game) -> dict[str, Any]:
    """The game's fields and what was found, by number of candidates.

    ``best``: value of the candidate with the highest reward; ``late``: mean value of the last `NUM_LATE`;
    ``duplicates``: share of all.
    """
    arguments: dict[str, Any] = {
        "generation_size": game.generation_size,
        "lag": LAG,
        "num_trials": game.num_trials,
        "seed": game.seed,
    }
    settings = settings_of(game.strategy)
    if game.landscape == TABLE:
        course = play_table(settings, recorded_candidates(), _view(), **arguments)
    else:
        judge = _judge(game.landscape.removesuffix(RUNGS))
        rung = Rung() if game.landscape.endswith(RUNGS) else None
        course = play(settings, judge, _view(), rung=rung, **arguments)
    return {**game._asdict(), **_summary(course)}


def settings_of(strategy: str) -> ControllerSettings:
    """As a search would have them.

    Raises:
        ValueError: a setting or its value is not one of the strategy's.
    """
    name, _, setting = strategy.partition(":")
    words = [f"controller={name}", *([f"controller.{setting}"] if setting else [])]
    return run_config(compose(words)).controller


@cache
def recorded_candidates() -> Landscape:
    """Everything on record, read once per process."""
    return load()


@cache
def _view() -> SpaceView:
    return SpaceView(run_config(compose([])).space.build())


@cache
def _judge(name: str) -> Judge:
    if name == SURROGATE:
        return surrogate_judge(recorded_candidates())
    return next(judge for judge in _analytic() if judge.name == name)


@cache
def _analytic() -> list[Judge]:
    return analytic_judges(_view().space)


def _summary(course: Course) -> dict[str, Any]:
    counts = {n: course.counts[n - 1] for n in CHECKPOINTS if n <= len(course.counts)}
    late = {n: course.values[max(0, count - NUM_LATE) : count] for n, count in counts.items()}
    return {
        "best": {str(n): round(course.best[n - 1], 6) for n in counts},
        "late": {str(n): round(float(np.mean(values)), 6) for n, values in late.items()},
        "duplicates": {str(n): round(float(np.mean(course.duplicates[:k])), 4) for n, k in counts.items()},
    }
