"""Searches beside each other, at equal numbers of candidates and equal seconds: `compared`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any, Literal

import numpy as np
from rich.table import Table

from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import Trial
from spinesearch.results.studies.statistics import f_quantiles
from spinesearch.results.tables import duration, narrow_table

_LAST = 50
_PARTS = (0.125, 0.25, 0.5, 1.0)  # of the shortest run


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A number of one strategy.

    Attributes:
        mean: over its runs; None where one of them has no such number.
        half_width: of the 95 % interval of the mean, by Student's t over the runs; None for one run.
    """

    mean: float | None
    half_width: float | None

    def __str__(self) -> str:
        if self.mean is None:
            return "-"
        return f"{self.mean:.4f}" + ("" if self.half_width is None else f" ±{self.half_width:.4f}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One strategy.

    Attributes:
        strategy: its name, with what sets it apart from others of the name.
        runs: its runs, one per seed.
        by_candidates: the best reward at each of `Comparison.candidates`.
        by_seconds: the best reward at each of `Comparison.seconds`.
        mean_of_last: the mean reward of the last 50 of the candidates compared.
    """

    strategy: str
    runs: tuple[str, ...]
    by_candidates: tuple[Figure, ...]
    by_seconds: tuple[Figure, ...]
    mean_of_last: Figure


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What a comparison found.

    Attributes:
        metric: what the reward is.
        candidates: numbers of candidates, up to what every run has done.
        seconds: seconds of training, all workers together, up to what every run has spent on those.
        rows: the strategies, the best at the end first.
    """

    metric: str
    candidates: tuple[int, ...]
    seconds: tuple[float, ...]
    rows: tuple[Row, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def compared(strategies: Mapping[str, Mapping[str, Run]]) -> Comparison:
    """Searches beside each other.

    Candidates count in the order in which they were proposed, duplicates and failures among them, up to the
    first without a result. A training that stopped at a rung is none of the best.

    Args:
        strategies: by name, the runs of each by theirs.

    Raises:
        ValueError: a run has no result yet.
    """
    courses = {name: {run: _Course(r.trials) for run, r in runs.items()} for name, runs in strategies.items()}
    for runs in courses.values():
        for run, course in runs.items():
            if not course.trials:
                raise ValueError(f"{run}: its first candidate has no result yet; compare it later")
    everyone = [course for runs in courses.values() for course in runs.values()]
    num = min(len(course.trials) for course in everyone)
    spent = min(course.seconds[-1] for course in everyone)
    counts = tuple(sorted({max(1, int(num * part)) for part in _PARTS}))
    seconds = tuple(spent * part for part in _PARTS) if spent > 0 else ()

    rows = [
        Row(
            strategy=name,
            runs=tuple(runs),
            by_candidates=tuple(figure(course.best(count) for course in runs.values()) for count in counts),
            by_seconds=tuple(
                figure(course.best(course.num_within(limit)) for course in runs.values()) for limit in seconds
            ),
            mean_of_last=figure(course.mean_of_last(num) for course in runs.values()),
        )
        for name, runs in courses.items()
    ]
    rows.sort(key=lambda row: math.inf if row.by_candidates[-1].mean is None else -row.by_candidates[-1].mean)
    first = next(iter(next(iter(strategies.values())).values()))
    return Comparison(
        metric=first.config["search"]["reward_metric"], candidates=counts, seconds=seconds, rows=tuple(rows)
    )


class _Course:
    """How a search went.

    Args:
        trials: of the run.

    Attributes:
        trials: those up to the first without a result.
        seconds: spent on training up to each, this included.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        num = next((number for number, trial in enumerate(trials) if not trial.is_done), len(trials))
        self.trials = trials[:num]
        self.seconds = list(accumulate(trial.seconds for trial in self.trials))

    def best(self, num: int) -> float | None:
        """The best reward among so many candidates; None without any."""
        return max(self._rewards(0, num), default=None)

    def mean_of_last(self, num: int) -> float | None:
        """The mean reward of the last of so many candidates; None without any."""
        rewards = self._rewards(max(0, num - _LAST), num)
        return sum(rewards) / len(rewards) if rewards else None

    def num_within(self, seconds: float) -> int:
        """How many candidates were done within so many seconds of training."""
        # A sum of the same numbers in the same order: the whole of the shortest run is within itself.
        return sum(spent <= seconds for spent in self.seconds)

    def _rewards(self, first: int, end: int) -> list[float]:
        trials = self.trials[first:end]
        return [trial.reward for trial in trials if trial.reward is not None and not trial.is_stopped]


def figure(values: Iterable[float | None]) -> Figure:
    """The mean of one or more numbers, and its interval if they are several."""
    values = list(values)
    known = np.array([value for value in values if value is not None])
    if len(known) < len(values):
        return Figure(mean=None, half_width=None)
    half_width = None
    if len(known) > 1:
        # The square of Student's t has the F distribution with one degree of freedom above.
        (squared,) = f_quantiles(1, len(known) - 1, (0.95,))
        half_width = math.sqrt(squared / len(known)) * float(known.std(ddof=1))
    return Figure(mean=float(known.mean()), half_width=half_width)


def comparison_table(found: Comparison, *, by: Literal["candidates", "seconds"]) -> Table:
    """The best reward so far, a row for each strategy."""
    if by == "candidates":
        title, columns = "after so many candidates", [f"{count:,}" for count in found.candidates]
    else:
        title, columns = "after so long a training, all workers together", [*map(duration, found.seconds)]
    table = narrow_table(f"best {found.metric} {title}")
    table.add_column("strategy", overflow="fold")
    table.add_column("runs", justify="right")
    for name in columns:
        table.add_column(name, justify="right")
    if by == "candidates":
        table.add_column(f"mean of last {min(_LAST, found.candidates[-1])}", justify="right")
    for row in found.rows:
        figures = (*row.by_candidates, row.mean_of_last) if by == "candidates" else row.by_seconds
        table.add_row(row.strategy, str(len(row.runs)), *map(str, figures))
    return table


def comparison_lines(found: Comparison) -> list[str]:
    """Which runs the rows are of, and what the figures are worth."""
    lines = [f"{row.strategy}: {', '.join(row.runs)}" for row in found.rows]
    if any(len(row.runs) > 1 for row in found.rows):
        lines.append("± half of the 95 % interval of the mean over seeds (Student's t)")
    if any(len(row.runs) == 1 for row in found.rows):
        lines.append("of a strategy with one run it is not known what another seed would give")
    return lines
