"""Scatter plot of two settings' scores."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from spinesearch.data.whole_file import write_whole
from spinesearch.results.studies.rank_correlation import Correlation
from spinesearch.results.studies.resamples import Floats

_SIZE = (6.4, 6.2)  # inches
_DPI = 150
_LABEL_WIDTH = 50  # characters that fit along an axis


def scatter_plot(
    path: Path,
    *,
    a: Floats,
    b: Floats,
    names: Sequence[str],
    metric: str,
    labels: Mapping[str, str],
    errors: tuple[Floats, Floats] | None,
    tau: Correlation | None,
    rho: Correlation | None,
) -> None:
    """Write a PNG with one point per architecture; it appears whole or not at all.

    The best of either side is marked, and named in the legend below the axes, where no point can be hidden.

    Args:
        path: of the file.
        a: `[N]`, mean scores on side a, N >= 1.
        b: `[N]`, mean scores on side b.
        names: `[N]`, what the legend calls each architecture.
        metric: what the scores are.
        labels: the settings of sides ``a`` and ``b``.
        errors: standard errors of a and b, `[N]` each; None to draw none.
        tau: Kendall's tau-b for the title.
        rho: Spearman's rho for the title.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if errors is not None:
        axes.errorbar(a, b, xerr=errors[0], yerr=errors[1], fmt="none", ecolor="0.75", elinewidth=1, zorder=1)
    axes.scatter(a, b, s=28, color="tab:blue", alpha=0.8, edgecolors="white", linewidths=0.5, zorder=2)
    best_a, best_b = int(np.argmax(a)), int(np.argmax(b))
    marks = [
        (best_a, "best on a", "o", "tab:orange", 130),
        (best_b, "best on b", "s", "tab:red", 230),
    ]
    for index, label, marker, colour, size in marks:
        axes.scatter(
            a[index],
            b[index],
            s=size,
            marker=marker,
            facecolors="none",
            edgecolors=colour,
            linewidths=1.5,
            zorder=3,
            label=f"{label}: {names[index]} ({a[index]:.4f}, {b[index]:.4f})",
        )
    axes.set_xlabel(textwrap.fill(f"{metric}, a: {labels['a']}", _LABEL_WIDTH))
    axes.set_ylabel(textwrap.fill(f"{metric}, b: {labels['b']}", _LABEL_WIDTH))
    found = [("Kendall's tau-b", tau), ("Spearman's rho", rho)]
    lines = [f"{len(a)} architectures" + (", with standard errors over seeds" if errors is not None else "")]
    lines += [
        f"{name} {c.value:.2f}, 95 % interval {c.interval.low:.2f} to {c.interval.high:.2f}"
        for name, c in found
        if c is not None
    ]
    axes.set_title("\n".join(lines), fontsize=10)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(0.08)
    figure.legend(loc="outside lower center", fontsize=9, frameon=False, markerscale=0.6)
    write_whole(path, lambda temporary: figure.savefig(temporary, format="png"))
