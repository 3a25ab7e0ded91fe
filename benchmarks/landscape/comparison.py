"""Who found what, from the games of `bench_controllers.py`: tables with paired intervals, and a plot."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from marked import markdown_table
from scipy import stats
from surrogate import Array

from spinesearch.data.whole_file import write_whole

# Candidates at which searches are compared, by candidates per generation.
BUDGETS: Mapping[int, tuple[int, ...]] = {8: (50, 100, 150, 300, 1000), 64: (300, 1000)}
CHECKPOINTS = (8, 16, 24, 32, 50, 75, 100, 150, 200, 300, 500, 700, 1000)  # of the plot, and all budgets
PLOT = Path("images/controllers.png")
BASELINE, RIVAL = "random", "evolution"
RUNGS = ", with rungs"  # behind a landscape's name: budgets are whole trainings' worth there

Rows = Sequence[Mapping[str, Any]]
_Column = tuple[bool, int, int]  # whether there are rungs, generation size, budget


def report(rows: Rows, *, default: str) -> str:
    """The tables of every landscape and generation size, in Markdown.

    Args:
        rows: the games.
        default: the strategy that the others are compared with.
    """
    sections = []
    for size, landscape in _groups(rows):
        of_both = [row for row in rows if (row["generation_size"], row["landscape"]) == (size, landscape)]
        strategies = list(dict.fromkeys(row["strategy"] for row in of_both))
        budgets = [n for n in BUDGETS[size] if any(str(n) in row["best"] for row in of_both)]
        seeds = sorted({row["seed"] for row in of_both})
        best = {s: _by_seed(of_both, s, "best", budgets) for s in strategies}
        late = {s: _by_seed(of_both, s, "late", budgets) for s in strategies}
        repeats = {s: _by_seed(of_both, s, "duplicates", budgets) for s in strategies}
        head = ["best, noise-free", *map(str, budgets), "mean of last 50", "duplicates"]
        lines = [
            [
                f"**{s}**" if s == default else s,
                *(_quartiles(column) for column in best[s].T),
                f"{np.median(_last(late[s])):.3g}",
                f"{100 * np.median(_last(repeats[s])):.0f} %",
            ]
            for s in strategies
        ]
        sections.append(
            f"### {landscape[0].upper()}{landscape[1:]}, generations of {size}\n\n"
            f"Medians and quartiles over {len(seeds)} seeds.\n\n{markdown_table(head, lines)}"
        )
        if landscape.endswith(RUNGS):
            sections += _gained(rows, size, landscape, best, budgets)
        if default in best:
            sections.append(_paired(best, default, budgets))
            sections += _aims(best, default, budgets, size)
    return "\n\n".join(sections)


def overview(rows: Rows, *, default: str) -> str:
    """One table of the medians after 100 candidates on each landscape, in Markdown.

    Args:
        rows: the games.
        default: the strategy that is printed in bold.
    """
    size, soon, late = min(BUDGETS), 100, 1000
    of_size = [row for row in rows if row["generation_size"] == size]
    landscapes = [name for _, name in _groups(of_size) if not name.endswith(RUNGS)]
    strategies = list(dict.fromkeys(row["strategy"] for row in of_size))
    named = [(f"**{s}**" if s == default else s, s, soon) for s in strategies]
    if BASELINE in strategies:
        named.append((f"{BASELINE}, {late:,} candidates", BASELINE, late))
    lines = []
    for shown, strategy, budget in named:
        cells = [shown]
        for name in landscapes:
            best = _by_seed([r for r in of_size if r["landscape"] == name], strategy, "best", [budget])
            cells.append(f"{np.median(best):.3g}" if best.size and np.isfinite(best).all() else "")
        lines.append(cells)
    return markdown_table([f"best after {soon} candidates, median", *landscapes], lines)


def verdicts(rows: Rows, *, default: str) -> str:
    """On how many landscapes the default is better and worse than each strategy, and rungs than none.

    Args:
        rows: the games.
        default: the strategy that the others are compared with.

    Returns:
        One or two tables in Markdown.
    """
    against_default, against_none = _Tally(), _Tally()
    for size, landscape in _groups(rows):
        has_rungs, budgets = landscape.endswith(RUNGS), BUDGETS[size]
        columns = [(has_rungs, size, budget) for budget in budgets]
        here = [row for row in rows if (row["generation_size"], row["landscape"]) == (size, landscape)]
        without = _without_rungs(rows, size, landscape)
        for strategy in dict.fromkeys(row["strategy"] for row in here):
            best = _by_seed(here, strategy, "best", budgets)
            if strategy != default:
                against_default.count(strategy, columns, _by_seed(here, default, "best", budgets), best)
            if has_rungs:
                against_none.count(strategy, columns, best, _by_seed(without, strategy, "best", budgets))
    head = f"{default} better/even/worse"
    text = (
        f"{against_default.table(head, lambda c: f'{c[2]:,}, by {c[1]}' + ', rungs' * c[0])}\n\n"
        "On how many landscapes it is better, not distinguished and worse by the paired 95 % interval; by "
        "number of candidates and size of the generations."
    )
    if against_none.counts:
        text += (
            f"\n\n{against_none.table('rungs better/even/worse', lambda c: f'{c[2]:,}')}\n\n"
            "The same of each strategy with rungs and without, by number of whole trainings' worth."
        )
    return text


class _Tally:
    """How often something is better, not distinguished and worse, by strategy and column."""

    def __init__(self) -> None:
        self.counts: dict[str, dict[_Column, list[int]]] = {}

    def count(self, strategy: str, columns: Sequence[_Column], ours: Array, theirs: Array) -> None:
        """Count what is found in paired games, ``[seeds, columns]``; none of those that are short."""
        if ours.shape != theirs.shape:
            return
        for column, gains in zip(columns, (ours - theirs).T, strict=True):
            if np.isfinite(gains).all():
                _, low, high = interval(gains)
                found = self.counts.setdefault(strategy, {}).setdefault(column, [0, 0, 0])
                found[0 if low > 0 else 2 if high < 0 else 1] += 1

    def table(self, head: str, title: Callable[[_Column], str]) -> str:
        """A line for each strategy, in Markdown."""
        columns = sorted({column for found in self.counts.values() for column in found})
        lines = [
            [s, *("/".join(map(str, found[column])) if column in found else "" for column in columns)]
            for s, found in self.counts.items()
        ]
        return markdown_table([head, *map(title, columns)], lines)


def _groups(rows: Rows) -> list[tuple[int, str]]:
    return sorted(
        dict.fromkeys((row["generation_size"], row["landscape"]) for row in rows), key=lambda pair: pair[0]
    )


def _by_seed(rows: Rows, strategy: str, what: str, budgets: Sequence[int]) -> Array:
    """``[seeds, budgets]``, by rising seed; NaN where a game was shorter."""
    games = sorted((row for row in rows if row["strategy"] == strategy), key=lambda row: row["seed"])
    return np.array([[row[what].get(str(n), np.nan) for n in budgets] for row in games])


def _last(values: Array) -> Array:
    """The last column without NaN, ``[seeds]``."""
    return values[:, np.flatnonzero(np.isfinite(values).all(axis=0))[-1]]


def _quartiles(values: Array) -> str:
    if not np.isfinite(values).all():
        return ""
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    return f"{median:.3g} ({low:.3g} to {high:.3g})"


def interval(differences: Array) -> tuple[float, float, float]:
    """The mean of two or more paired differences and its 95 % interval by Student's t."""
    mean, count = float(differences.mean()), len(differences)
    half = float(stats.t.ppf(0.975, count - 1) * differences.std(ddof=1)) / math.sqrt(count)
    return mean, mean - half, mean + half


def _paired(best: Mapping[str, Array], default: str, budgets: Sequence[int]) -> str:
    """How much better than the default each other strategy is, seed by seed."""
    lines = []
    for strategy, values in best.items():
        if strategy != default:
            lines.append([strategy, *map(_difference, (values - best[default]).T)])
    table = markdown_table([f"better than {default} by", *map(str, budgets)], lines)
    return f"{table}\n\nMeans over the seeds and their 95 % intervals; `!`: {default} is beaten."


def _gained(
    rows: Rows, size: int, landscape: str, best: Mapping[str, Array], budgets: Sequence[int]
) -> Iterator[str]:
    """How much better each strategy is with rungs than without, where it was played both ways."""
    without = _without_rungs(rows, size, landscape)
    lines = []
    for strategy, values in best.items():
        plain = _by_seed(without, strategy, "best", budgets)
        if plain.shape == values.shape:
            lines.append([strategy, *map(_difference, (values - plain).T)])
    if lines:
        table = markdown_table(["better with rungs than without by", *map(str, budgets)], lines)
        yield f"{table}\n\nAt equal steps of training; `!`: without is beaten."


def _without_rungs(rows: Rows, size: int, landscape: str) -> list[Mapping[str, Any]]:
    """The games on a landscape without the rungs that its name has."""
    name = landscape.removesuffix(RUNGS)
    return [row for row in rows if (row["generation_size"], row["landscape"]) == (size, name)]


def _difference(values: Array) -> str:
    """A mean of paired differences with its interval; marked if all of that is above zero."""
    if not np.isfinite(values).all():
        return ""
    mean, low, high = interval(values)
    return f"{mean:+.2g} ({low:+.2g} to {high:+.2g}){' !' if low > 0 else ''}"


def _aims(best: Mapping[str, Array], default: str, budgets: Sequence[int], size: int) -> Iterator[str]:
    """Whether the default reaches what it is meant to, at generations of 8."""
    if size != min(BUDGETS):
        return
    if BASELINE in best and 100 in budgets and 1000 in budgets:
        target = float(np.median(best[BASELINE][:, budgets.index(1000)]))
        reached = float(np.median(best[default][:, budgets.index(100)]))
        verdict = "reaches" if reached >= target else "does not reach"
        yield (
            f"{default} {verdict} {BASELINE}'s best of 1,000 within 100 candidates: {reached:.3g} against "
            f"{target:.3g} (medians)."
        )
    if RIVAL in best and default != RIVAL:
        lows = [interval(column)[1] for column in (best[RIVAL] - best[default]).T]
        beaten = [str(n) for n, low in zip(budgets, lows, strict=True) if low > 0]
        where = f"at {', '.join(beaten)} candidates" if beaten else "at no budget"
        yield f"{default} is beaten by {RIVAL} {where}."


def plot(rows: Rows, path: Path) -> None:
    """Write a PNG of the best found by the number of candidates, a panel per landscape.

    Of the games with the smallest generations that there are, and without rungs.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in rows if not row["landscape"].endswith(RUNGS)]
    size = min(row["generation_size"] for row in rows)
    rows = [row for row in rows if row["generation_size"] == size]
    names = list(dict.fromkeys(row["landscape"] for row in rows))
    num_columns = min(3, len(names))
    num_rows = -(-len(names) // num_columns)
    figure = Figure(figsize=(4.2 * num_columns, 3.4 * num_rows), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(num_rows, num_columns, squeeze=False).flat)
    colours = {s: f"C{i}" for i, s in enumerate(dict.fromkeys(row["strategy"] for row in rows))}
    legend = {}
    for name, panel in zip(names, panels, strict=False):
        here = [row for row in rows if row["landscape"] == name]
        for strategy in dict.fromkeys(row["strategy"] for row in here):
            own = [row["best"] for row in here if row["strategy"] == strategy]
            points = [n for n in CHECKPOINTS if all(str(n) in best for best in own)]
            low, median, high = np.quantile(
                _by_seed(here, strategy, "best", points), (0.25, 0.5, 0.75), axis=0
            )
            (legend[strategy],) = panel.plot(points, median, color=colours[strategy], linewidth=1.5)
            panel.fill_between(points, low, high, color=colours[strategy], alpha=0.15, linewidth=0)
        panel.set(xscale="log", title=name, xlabel="candidates", ylabel="best, noise-free")
        panel.grid(alpha=0.3)
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    place = panels[min(len(names), len(panels) - 1)]  # one that is empty, if there is one
    place.legend(legend.values(), legend.keys(), fontsize="small", loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda partial: figure.savefig(partial, format="png"))
