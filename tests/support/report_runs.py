"""Ledgers of searches as reports meet them: rungs, failures, lost attempts, predictions, finalists, noise."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from spinesearch.results.ledger.ledger import Ledger
from spinesearch.space import SpineNetSpace

NOVEMBER = Path(__file__).parents[1] / "fixtures/november_2026/runs/search/ledger.jsonl"
SPACE = SpineNetSpace()
START = 2e9  # Unix time
SECONDS = 30.0  # of a training
AT_ONCE = 1000  # events on disk with one append
NUM_FAILED_EVERY, NUM_LOST_EVERY, NUM_STOPPED_EVERY = 16, 20, 4


def beginning(num_trials: int, controller: str = "bayesian") -> dict[str, Any]:
    """A search's first event, of today's settings as far as a report looks at them."""
    event = json.loads(NOVEMBER.read_text().splitlines()[0])
    event = {key: value for key, value in event.items() if key not in ("seq", "crc32")}
    event["config"]["search"] |= {"num_trials": num_trials, "generation_size": 8}
    event["config"]["controller"] = {"name": controller}
    shares = [0.4, 0.3, 0.2, 0.09, 0.01]
    coverage = {"num_images": 9, "target_image_size": 640, "positives": shares, "target_positives": shares}
    return event | {"coverage": {**coverage, "unseen": [7]}, "time": START}


def record_search(
    run_dir: Path,
    *,
    num_trials: int = 64,
    num_done: int | None = None,
    seed: int = 0,
    controller: str = "bayesian",
    reward_metric: str = "ap",
    reason: str = "the loss is not finite at step 7",
    has_rungs: bool = False,
    num_finalists: int = 0,
) -> Path:
    """A search on two workers of a node, in generations of eight.

    Every 16th candidate fails, every 20th loses a worker first; with rungs every fourth stops at the first.
    The first generation has no predictions.
    """
    rng = np.random.default_rng(seed)
    events: list[dict[str, Any]] = [beginning(num_trials, controller)]
    events[0]["config"]["search"]["reward_metric"] = reward_metric
    rewards = {}
    for trial in range(num_trials):
        tokens = SPACE.sample(rng)
        spec = SPACE.decode(tokens)
        expected = 0.2 + 0.01 * sum(block.level < 5 for block in spec.blocks)
        place = {"node": "n1", "worker": f"n1:{trial % 2}"}
        propose = {"event": "propose", "trial": trial, "generation": trial // 8, "tokens": list(tokens)}
        if controller == "bayesian" and trial >= 8:
            propose["info"] = {"prediction": round(expected, 6), "spread": 0.01}
        events.append({**propose, "arch_id": spec.arch_id})
        if trial >= (num_trials if num_done is None else num_done):
            continue
        time = START + SECONDS * (trial // 2 + 1)
        if trial % NUM_LOST_EVERY == 3:
            lost = {"attempt": 1, "reason": "the worker died", "seconds": 5.0, "time": time - SECONDS}
            events.append({"event": "attempt", "trial": trial, **place, **lost})
        reward = expected + float(rng.normal(0, 0.005))
        metrics = {
            "ap": reward,
            "ap50": 2 * reward,
            "num_parameters": int(250_000 + 1e5 * rng.random()),
            "num_multiply_adds": int(4e8 * reward + 2e7 * rng.random()),
        }
        ms = round(10 + 20 * reward, 3)
        events.append({"event": "latency", "arch_id": spec.arch_id, "ms": ms, "device": "cpu", "time": time})
        seconds = SECONDS
        if has_rungs:
            early = {**metrics, "ap": reward / 2}
            rung = {"rung": 0, "num_steps": 30, "metrics": early, "attempts": 1, "seconds": SECONDS / 3}
            events.append({"event": "rung", "trial": trial, **rung, **place, "time": time - SECONDS * 2 / 3})
        ended: dict[str, Any] = {"status": "completed", "reward": reward, "metrics": metrics}
        if trial % NUM_FAILED_EVERY == 5:
            ended = {"status": "failed", "reward": 0.0, "metrics": {}, "reason": reason}
        elif has_rungs and trial % NUM_STOPPED_EVERY == 2:
            ended = {"status": "completed", "reward": reward / 2, "metrics": early, "is_stopped": True}
            seconds, time = SECONDS / 3, time - SECONDS * 2 / 3
        else:
            rewards[trial] = reward
        result = {"event": "result", "trial": trial, "attempts": 1, "seconds": seconds, "time": time}
        events.append({**result, **place, **ended})
        if trial % 8 == 7:
            stats = {"prediction_error": 0.01, "entropy": 60.0 - trial / 10}
            events.append({"event": "update", "update": trial // 8, "stats": stats, "digest": "d"})
    best = sorted(rewards, key=lambda trial: -rewards[trial])[:num_finalists]
    if best:
        events += _finalists(best, rewards, events, rng)
    with Ledger(run_dir) as ledger:
        for start in range(0, len(events), AT_ONCE):
            ledger.append(events[start : start + AT_ONCE])
    return run_dir


def record_long_search(run_dir: Path, *, num_trials: int) -> Path:
    """A search of so many candidates, whose networks and figures are as hard to pack as real ones."""
    rng = np.random.default_rng(0)
    begin = beginning(num_trials)
    events: list[dict[str, Any]] = [begin]
    for trial in range(num_trials):
        tokens, figures = SPACE.sample(rng), rng.random(8)
        info = {"prediction": round(figures[0], 6), "spread": 0.01} if trial >= 64 else {}
        arch_id = hashlib.sha256(bytes(tokens)).hexdigest()[:12]
        proposal = {"generation": trial // 8, "tokens": list(tokens), "arch_id": arch_id, "info": info}
        events.append({"event": "propose", "trial": trial, **proposal})
        names = ("ap", "ap50", "ap_small", "ap_medium", "ap_large")
        metrics = {name: 0.2 + 0.1 * value for name, value in zip(names, figures, strict=False)}
        costs = {"num_parameters": int(3e5 * figures[5]), "num_multiply_adds": int(2e8 * figures[6])}
        place = {"node": "n", "worker": f"n:{trial % 9}", "seconds": 40 + figures[7], "time": START + trial}
        result = {"status": "completed", "reward": metrics["ap"], "metrics": metrics | costs, "attempts": 1}
        events.append({"event": "result", "trial": trial, **result, **place})
    with Ledger(run_dir) as ledger:
        ledger.append(events)
    return run_dir


def _finalists(
    best: list[int], rewards: dict[int, float], events: list[dict[str, Any]], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """The re-ranking of these candidates and SpineNet-49 with three seeds."""
    proposed = {e["trial"]: e["arch_id"] for e in events if e["event"] == "propose"}
    names: dict[str, tuple[str, float]] = {proposed[trial]: ("", rewards[trial] + 0.1) for trial in best}
    names["0" * 12] = ("spinenet49", 0.3)
    rerank = {
        "rerank": 0,
        "setting": 0,
        "trials": best,
        "baselines": {"spinenet49": "0" * 12},
        "seeds": [1, 2, 3],
        "proxy_task": {**events[0]["config"]["proxy_task"], "num_steps": 300},
        "time": START + 1e4,
    }
    found: list[dict[str, Any]] = [{"event": "rerank", **rerank}]
    number = 0
    for arch_id, (baseline, score) in names.items():
        for seed in (1, 2, 3):
            place = {"side": "finalists", "trial": number}
            of = {"baseline": baseline} if baseline else {}
            found.append({"event": "propose", **place, **of, "seed": seed, "tokens": [], "arch_id": arch_id})
            ap = score + float(rng.normal(0, 0.004))
            metrics = {"ap": ap, "num_multiply_adds": 130_000_000, "num_parameters": 290_000}
            ended = {"status": "completed", "reward": ap, "metrics": metrics, "seconds": 3 * SECONDS}
            time = START + 1e4 + 3 * SECONDS * (number + 1)
            found.append({"event": "result", **place, "attempts": 1, "time": time, **ended})
            number += 1
    return found


def record_study(run_dir: Path) -> Path:
    """A variance study of the setting of `record_search`: two architectures, whose seeds differ by 0.02."""
    event = beginning(4)
    study = {"kind": "variance", "num_archs": 2, "num_seeds": 2}
    events: list[dict[str, Any]] = [{**event, "study": study}]
    rng = np.random.default_rng(9)
    for arch in range(2):
        tokens = SPACE.sample(rng)
        for seed in range(2):
            trial = 2 * arch + seed
            proposal = {"tokens": list(tokens), "arch_id": SPACE.decode(tokens).arch_id, "seed": seed}
            events.append({"event": "propose", "trial": trial, "side": "", **proposal})
            ap = 0.3 + 0.05 * arch + 0.02 * seed
            result = {"status": "completed", "reward": ap, "metrics": {"ap": ap}, "seconds": 9.0}
            events.append({"event": "result", "trial": trial, **result, "time": START + trial})
    with Ledger(run_dir) as ledger:
        ledger.append(events)
    return run_dir
