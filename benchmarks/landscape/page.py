"""Writes what is on record, and how well it can be predicted, into docs/landscape.md: `make landscape`.

python benchmarks/landscape/page.py [--folder FOLDER] [--page PAGE]
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from marked import markdown_table, replace_marked
from recorded import RECORDS, Landscape, LandscapeError, load
from surrogate import JUDGE_COLUMNS, Array, Fit, Noise, cross_validated, figures_and_scores, seed_noise

from spinesearch.results.studies.rank_correlation import Correlation, kendall_tau
from spinesearch.space.features import FEATURE_NAMES

PAGE = Path(__file__).parents[2] / "docs" / "landscape.md"
_NUM_LEAST = 20  # scored architectures, below which nothing is predicted


def main() -> int:
    """Write the page's figures."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--folder", type=Path, default=RECORDS)
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    try:
        text = figures(load(given.folder))
        replace_marked(given.page, "landscape", text)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(text)
    return 0


def figures(landscape: Landscape) -> str:
    """What the page says of a landscape, in Markdown.

    Raises:
        LandscapeError: there is too little on record.
    """
    metric = landscape.heads[0]["reward_metric"]
    x, y = figures_and_scores(landscape, metric)
    if len(y) < _NUM_LEAST:
        raise LandscapeError(
            f"landscape: {_NUM_LEAST} scored architectures are needed, got {len(y)}; record more of them"
        )
    noise = seed_noise(landscape.scores(metric).values)
    best = y >= np.quantile(y, 0.75)
    sections = [
        _contents(landscape, metric),
        _spread(metric, y),
        _noise(noise),
        markdown_table(["predicted from", "tau-b", "tau-b, upper half", "R2", "residual sd"], _fits(x, y)),
        f"Among the best quarter alone, trees on all figures have a tau-b of "
        f"{_tau(cross_validated(x[best], y[best]).tau)}.",
    ]
    return "\n\n".join(sections)


def _contents(landscape: Landscape, metric: str) -> str:
    strategies = {head["run"]: head["controller"]["name"] for head in landscape.heads}
    done = [t for t in landscape.trainings if t.status == "completed"]
    counted = Counter((strategies[t.run], t.num_steps) for t in done)
    rows = [
        [strategy, str(steps), str(number), str(len({t.arch_id for t in done if t.num_steps == steps}))]
        for (strategy, steps), number in sorted(counted.items(), key=str)
    ]
    num_failed = len(landscape.trainings) - len(done)
    machines = sorted({machine for head in landscape.heads for machine in head["machines"]})
    data = landscape.heads[0]["data"]
    return (
        f"{len(done)} trainings of {len({t.arch_id for t in done})} networks, and {num_failed} that failed, "
        f"in {len(landscape.heads)} shards, on {', '.join(machines)}. Data: {data['name']}, "
        f"{data['num_train_images']} training and {data['num_held_out_images']} held-out images. The reward "
        f"is `{metric}`.\n\n"
        + markdown_table(["strategy", "steps", "trainings", "networks of that many steps"], rows)
    )


def _spread(metric: str, y: Array) -> str:
    quartiles = ", ".join(f"{value:.3f}" for value in np.quantile(y, (0, 0.25, 0.5, 0.75, 1)))
    return f"`{metric}` of {len(y)} networks: minimum, quartiles and maximum {quartiles}; sd {y.std():.3f}."


def _noise(noise: Noise | None) -> str:
    if noise is None:
        return "Noise: not known, as fewer than four networks have several seeds."
    icc = "none" if noise.icc is None else f"{noise.icc:.2f}"
    return (
        f"Noise: one network's seeds have a standard deviation of {noise.sd:.4f} ({noise.sd_low:.4f} in the "
        f"lower half of the {noise.num_archs} networks with several, {noise.sd_high:.4f} in the upper); "
        f"ICC {icc}."
    )


def _fits(x: Array, y: Array) -> list[list[str]]:
    """Rows of the table: trees, and what a single figure says."""
    rows = []
    for name, columns in (
        ("trees, all figures", range(len(FEATURE_NAMES))),
        ("trees, the judge's half", JUDGE_COLUMNS),
    ):
        fit: Fit = cross_validated(x[:, list(columns)], y)
        rows.append([name, _tau(fit.tau), _tau(fit.top_tau), f"{fit.r2:.2f}", f"{fit.residual_sd:.3f}"])
    top = y >= np.median(y)
    for name in ("log parameters", "log multiply-adds"):
        column = x[:, FEATURE_NAMES.index(name)]
        rows.append([name, _tau(kendall_tau(column, y)), _tau(kendall_tau(column[top], y[top])), "", ""])
    return rows


def _tau(found: Correlation | None) -> str:
    if found is None:
        return "-"
    return f"{found.value:.2f} ({found.interval.low:.2f} to {found.interval.high:.2f})"


if __name__ == "__main__":
    sys.exit(main())
