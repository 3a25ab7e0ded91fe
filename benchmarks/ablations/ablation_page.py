"""Writes what ablations have on record into their two pages in docs/: `make ablations`.

python benchmarks/ablations/ablation_page.py [FOLDER ...]

FOLDER holds files of run_ablation.py; by default records/ beside this file, and runs/ablations.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from compared import ABLATIONS, Row
from run_ablation import read_lines

from spinesearch.results.comparison import figure

sys.path.insert(0, str(Path(__file__).parents[1] / "landscape"))
from marked import markdown_table, replace_marked

ROOT = Path(__file__).parents[2]
FOLDERS = (Path(__file__).parent / "records", ROOT / "runs" / "ablations")
PAGES = {
    name: ROOT / "docs" / f"{'attention-routing' if name == 'fusion' else 'ablations'}.md"
    for name in ABLATIONS
}


def main() -> int:
    """Write both pages; returns the exit code."""
    folders = [Path(text) for text in sys.argv[1:]] or FOLDERS
    files = sorted({path.name: path for folder in folders for path in folder.glob("*.jsonl")}.items())
    recorded = [lines for _, path in files if (lines := read_lines(path))]
    for name, page in PAGES.items():
        texts = [table(lines) for lines in recorded if lines[0]["ablation"] == name]
        text = "\n\n".join(texts) or "Nothing is on record yet."
        replace_marked(page, name, text)
        print(f"## {name}\n\n{text}\n")
    return 0


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """A file's rows: cost, AP, and how far from the first row, seed by seed."""
    head, trainings = lines[0], lines[1:]
    rows = ABLATIONS[head["ablation"]]
    cells = []
    for row in rows:
        mine = {line["seed"]: line for line in trainings if line["label"] == row.label}
        first = {line["seed"]: line for line in trainings if line["label"] == rows[0].label}
        if mine:
            cells.append(_cells(row, mine, first, is_first=row is rows[0]))
    size, _, data = head["where"].partition("-")
    train, held_out = head["num_images"]
    what = (
        f"Size {size}, {data}, {train} images trained on and {held_out} scored on; "
        f"{head['machine']}, {head['versions']}."
    )
    names = ["", "n", "parameters", "multiply-adds", "AP", "AR100", "AP against the first", "paper", "agrees"]
    text = f"{what}\n\n{markdown_table(names, cells)}"
    if top_k := _top_k(trainings):
        text += f"\n\n{top_k}"
    return text


def _cells(row: Row, mine: Mapping[int, Any], first: Mapping[int, Any], *, is_first: bool) -> list[str]:
    pairs = [mine[seed]["ap"] - first[seed]["ap"] for seed in mine if seed in first]
    changed = {
        f"{key} {value:g}"
        for line in mine.values()
        for key, value in line["changes"].items()
        if isinstance(value, float)
    }
    label = row.label + (f" ({', '.join(sorted(changed))})" if len(changed) == 1 else "")
    scores = [str(figure(line[name] for line in mine.values())) for name in ("ap", "ar100")]
    costs = [
        np.mean([line[f"num_{name}"] for line in mine.values()]) for name in ("parameters", "multiply_adds")
    ]
    return [
        label,
        str(len(mine)),
        f"{costs[0] / 1e3:,.0f} k",
        f"{costs[1] / 1e6:,.2f} M",
        *scores,
        "" if is_first else difference(pairs),
        row.paper,
        "" if is_first or not row.paper else verdict(pairs, row.paper),
    ]


def difference(pairs: Sequence[float]) -> str:
    """The mean of paired differences with its 95 % interval, by Student's t."""
    if not pairs:
        return "-"
    if len(pairs) == 1:
        return f"{pairs[0]:+.4f} (one seed)"
    low, high = interval(pairs)
    return f"{np.mean(pairs):+.4f} ({low:+.4f} to {high:+.4f})"


def verdict(pairs: Sequence[float], paper: str) -> str:
    """Whether the sign is the paper's, as far as the interval allows to say."""
    if len(pairs) < 2:
        return "not known"
    low, high = interval(pairs)
    if low <= 0.0 <= high:
        return "not resolved"
    return "yes" if (high < 0) == (paper == "lower") else "no"


def interval(pairs: Sequence[float]) -> tuple[float, float]:
    """Of the mean of at least two numbers, 95 %."""
    found = figure(pairs)
    assert found.mean is not None
    assert found.half_width is not None
    return found.mean - found.half_width, found.mean + found.half_width


def _top_k(trainings: Sequence[Mapping[str, Any]]) -> str:
    """AP with fewer weights in evaluation, against the same trainings' with all."""
    kept: dict[str, list[Mapping[str, Any]]] = {}
    for line in trainings:
        if "ap_top_k" in line:
            kept.setdefault(line["label"], []).append(line)
    if not kept:
        return ""
    ks = list(next(iter(kept.values()))[0]["ap_top_k"])
    cells = [
        [
            label,
            str(len(lines)),
            *(difference([line["ap_top_k"][k] - line["ap"] for line in lines]) for k in ks),
        ]
        for label, lines in kept.items()
    ]
    return markdown_table(["AP with each block's largest weights alone, against all", "n", *ks], cells)


if __name__ == "__main__":
    sys.exit(main())
