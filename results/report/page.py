"""The page: one HTML file with its library, its style, its scripts and, compressed, all that it shows.

Everything that comes from a ledger is in the compressed part, and the scripts put it on the page as text: no
name and no reason is ever read as HTML.
"""

from __future__ import annotations

import base64
import html
import json
import time
import zlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

from spinesearch.results.drawing.style import LEVEL_FILLS
from spinesearch.results.report.candidates import candidates, cost_names, marked, prediction_quality, updates
from spinesearch.results.report.panels import failures, finalists, lost, rungs, work
from spinesearch.results.report.source import Source
from spinesearch.results.tables import status_line

_SCRIPTS = (
    "data",
    "parts",
    "tables",
    "network",
    "rewards",
    "costs",
    "found",
    "learnt",
    "strategy",
    "work",
    "page",
)
_NUM_BEST = 10  # drawn, of all runs together
_LEAST_BEST = 2  # of each run


def report_page(sources: Sequence[Source], *, version: str) -> str:
    """The HTML of a report.

    Args:
        sources: the runs, in the order in which the page names them.
        version: of spinesearch.
    """
    num_best = max(_LEAST_BEST, _NUM_BEST // len(sources))
    data = {
        "version": version,
        "made": time.strftime("%Y-%m-%d %H:%M %Z"),
        "level_fills": LEVEL_FILLS,
        "runs": [_run_data(source, num_best) for source in sources],
    }
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    title = ", ".join(source.name for source in sources)
    title = title.encode(errors="surrogateescape").decode(errors="replace")  # a folder's name may be no UTF-8
    parts = {
        "title": html.escape(title),
        "style": _read("page.css"),
        "library": _read("echarts.min.js"),
        "data": base64.b64encode(zlib.compress(text.encode())).decode(),
        "script": "\n".join(_read(f"{name}.js") for name in _SCRIPTS),
    }
    before, *rest = _read("page.html").split("{{")
    # No part is looked at again, whatever is in it.
    return before + "".join(
        parts[name] + after for name, _, after in (piece.partition("}}") for piece in rest)
    )


def _run_data(source: Source, num_best: int) -> dict[str, Any]:
    """All that the page shows of one run; of one that has not begun, its name and notes."""
    run = source.run
    data: dict[str, Any] = {"name": source.name, "notes": source.notes, "state": source.state}
    if not run.sessions:
        return data
    return data | {
        "status": status_line(run),
        "controller": run.config["controller"]["name"],
        "space": run.space.name,
        "seed": run.config["seed"],
        "num_wanted": run.config["search"]["num_trials"],
        "reward_metric": run.config["search"]["reward_metric"],
        "costs": cost_names(run),
        "latency_device": next((latency.device for latency in run.latencies.values()), ""),
        "noise": source.noise and source.noise._asdict(),
        "candidates": candidates(run),
        **marked(run, num_best=num_best),
        "prediction": prediction_quality(run),
        "updates": updates(run),
        "finalists": finalists(run),
        "rungs": rungs(run),
        "coverage": run.coverage,
        "failures": failures(run),
        "lost": lost(run),
        "work": work(run),
    }


def _read(name: str) -> str:
    return resources.files(__package__).joinpath("page", name).read_text(encoding="utf-8")
