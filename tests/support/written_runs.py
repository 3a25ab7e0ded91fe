"""Runs whose ledgers are written without any training, for what reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spinesearch.results.ledger.ledger import Ledger
from spinesearch.results.ledger.lines import Event
from spinesearch.search.config.run_config import compose, run_config
from spinesearch.search.config.sections import TRAINING
from spinesearch.search.training.train_config import train_config

BEGUN = 1_800_000_000.0  # Unix time


def run_event(*words: str, data_key: str = "0" * 16) -> Event:
    """The event that begins a search with these settings."""
    config = run_config(compose(["search.finalists=0", "search.generation_size=4", *words]))
    data = {"key": data_key, "num_train_images": 80, "num_held_out_images": 20, "class_names": ["x"]}
    fields = {"version": "0", "torch": "0", "python": "0", "host": "there", "scoring_sources": "0"}
    return {"event": "run", **fields, "data": data, "config": config.to_dict(), "time": BEGUN}


def proposals(count: int, *, first: int = 0, seed: int = 0) -> list[Event]:
    """Random candidates of the default space, four to a generation."""
    space = run_config(compose([])).space.build()
    rng = np.random.default_rng((seed, first))
    events = []
    for number in range(first, first + count):
        tokens = space.sample(rng)
        arch_id = space.decode(tokens).arch_id
        fields = {"trial": number, "generation": number // 4, "tokens": list(tokens), "arch_id": arch_id}
        events.append({"event": "propose", **fields})
    return events


def result(trial: int, reward: float | None, *, seconds: float = 10.0) -> Event:
    """The result of a candidate; it failed where there is no reward."""
    event = {"event": "result", "trial": trial, "seconds": seconds, "time": BEGUN + 10 * (trial + 1)}
    if reward is None:
        return event | {"status": "failed", "reward": 0.0, "reason": "the loss is not finite"}
    metrics = {"ap": reward, "ap50": 2 * reward, "ar100": reward}
    return event | {"status": "completed", "reward": reward, "metrics": metrics}


def updates(count: int) -> list[Event]:
    return [{"event": "update", "update": number, "stats": {}, "digest": ""} for number in range(count)]


def write_search(
    run_dir: Path,
    rewards: Sequence[float | None],
    *words: str,
    seconds: float = 10.0,
    data_key: str = "0" * 16,
    changes: Mapping[int, Mapping[str, Any]] | None = None,
) -> Path:
    """A search with these rewards in candidate order, learnt from as far as its generations are whole.

    Args:
        run_dir: its folder.
        rewards: None for what failed.
        words: settings.
        seconds: of each training.
        data_key: of its data.
        changes: to results, by trial.
    """
    changes = changes or {}
    results = [
        {**result(number, reward, seconds=seconds), **changes.get(number, {})}
        for number, reward in enumerate(rewards)
    ]
    with Ledger(run_dir) as ledger:
        ledger.append([run_event(*words, data_key=data_key)])
        ledger.append([*proposals(len(rewards)), *results, *updates(len(rewards) // 4)])
    return run_dir


def write_training(
    run_dir: Path,
    source: Mapping[str, Any] | None = None,
    *words: str,
    name: str = "tiny",
    aps: Sequence[float] = (0.1, 0.2),
    data_key: str = "0" * 16,
) -> Path:
    """A training of two steps per epoch, four in all.

    Args:
        run_dir: its folder.
        source: where its architecture comes from.
        words: settings.
        name: of the model.
        aps: measured after each epoch; one alone where it goes on.
        data_key: of its data.
    """
    config = train_config(compose(["train=quick", *words], TRAINING)).to_dict()
    model = {"arch_id": name, "model": {"filter_size_scale": config["train"]["filter_size_scale"]}}
    cost = {"parameters": 1_270_000, "multiply_adds": 420_000_000}
    training = {"name": name, "source": source or {}, "model": model, "cost": cost, "num_steps": 4}
    scores = dict.fromkeys(("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100"), 0.1)
    measured = {"event": "measure", "loss": 2.0, "class_aps": {"disk": 0.1, "ring": None}, "time": BEGUN}
    with Ledger(run_dir) as ledger:
        ledger.append([{**run_event(data_key=data_key), "config": config, "training": training}])
        for epoch, ap in enumerate(aps, start=1):
            ledger.append([{**measured, "step": 2 * epoch, "epoch": epoch, "scores": {**scores, "AP": ap}}])
    return run_dir
