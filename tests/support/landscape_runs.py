"""Ledgers of searches whose rewards are known functions of the networks, for `benchmarks/landscape`."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spinesearch.results.ledger.ledger import Ledger
from spinesearch.space import SpineNetSpace

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks" / "landscape"
NOVEMBER = ROOT / "tests/fixtures/november_2026/runs/search/ledger.jsonl"
SPACE = SpineNetSpace()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """The benchmark's modules, by name."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


def record(
    run_dir: Path,
    *,
    done: int,
    wanted: int,
    seed: int = 0,
    proposals: int | None = None,
    **proxy_task: object,
) -> Path:
    """A search's ledger as the loop writes it, whose rewards are a figure of the network and some noise."""
    begin = json.loads(NOVEMBER.read_text().splitlines()[0])
    begin = {key: value for key, value in begin.items() if key not in ("seq", "crc32")}
    begin |= {"scoring_sources": "0123456789ab", "machine": "a machine"}
    begin["config"]["search"]["num_trials"] = wanted
    begin["config"]["seed"] = seed
    begin["config"]["proxy_task"] |= proxy_task
    rng, noise = np.random.default_rng(0), np.random.default_rng(1 + seed)
    with Ledger(run_dir) as ledger:
        if not ledger.contents.events:
            ledger.append([begin])
        begun = sum(event["event"] == "propose" for event in ledger.contents.events)
        ended = sum(event["event"] == "result" for event in ledger.contents.events)
        for trial in range(wanted if proposals is None else proposals):
            tokens = SPACE.sample(rng)
            spec = SPACE.decode(tokens)
            ap = 0.2 + 0.01 * sum(b.level < 5 for b in spec.blocks) + float(noise.normal(0, 0.005))
            if trial >= begun:
                proposal = {"generation": trial // 8, "tokens": list(tokens), "arch_id": spec.arch_id}
                ledger.append([{"event": "propose", "trial": trial, **proposal}])
            if ended <= trial < done:
                metrics = {"ap": ap, "loss": 1.0, "num_steps": begin["config"]["proxy_task"]["num_steps"]}
                result = {"status": "completed", "reward": ap, "metrics": metrics, "time": 2e9 + trial}
                if trial == 3:
                    result |= {"status": "failed", "reward": 0.0, "metrics": {}, "reason": "it diverged"}
                ledger.append([{"event": "result", "trial": trial, "seconds": 9.5, **result}])
    return run_dir
