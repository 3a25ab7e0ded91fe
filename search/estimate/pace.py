"""How long a candidate's training takes: as stated, as measured, or as an earlier run recorded it: `Pace`."""

from __future__ import annotations

import contextlib
import json
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from spinesearch.results.ledger.ledger import LEDGER_NAME, LedgerError
from spinesearch.results.ledger.lines import Event, decode_events
from spinesearch.results.ledger.run import Run, load_run
from spinesearch.results.ledger.trial import Trial
from spinesearch.results.pace import timed_parts, training_time

LEAST_TIMED = 3  # trainings that a pace is taken from
_MAX_RUNS = 20  # earlier runs that are looked at, the newest
_UNTIMED = ("evaluator",)  # settings of the proxy task that change little of its time


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How fast a worker trains candidates.

    Attributes:
        step_s: seconds per step.
        other_s: seconds on top of the steps of a training: building, statistics, evaluation.
        source: where they are from, for people.
        gpus_per_worker: GPUs that a worker occupied; 0 for processors alone.
        duplicates: share of candidates that were the network of an earlier one; None if not known.
    """

    step_s: float
    other_s: float
    source: str
    gpus_per_worker: float = 0.0
    duplicates: float | None = None

    def seconds(self, num_steps: float) -> float:
        """Of a whole training of so many steps."""
        return self.other_s + num_steps * self.step_s


def pace_of(trials: Iterable[Trial], source: str) -> Pace | None:
    """The pace of trials on record; None if too few were trained."""
    trials = list(trials)
    times = [training_time(part.seconds, part.metrics) for part in timed_parts(trials)]
    if len(times) < LEAST_TIMED:
        return None
    done = [trial for trial in trials if trial.is_done]
    return Pace(
        # Means: a sum is wanted, and large networks are part of it.
        step_s=statistics.mean(time.step_s for time in times),
        other_s=statistics.mean(time.other_s for time in times),
        source=source,
        duplicates=sum(trial.status == "duplicate" for trial in done) / len(done),
    )


def step_seconds(run: Run) -> float | None:
    """Seconds per step of a long training, checkpoints and measurements included; None if not on record."""
    seconds = steps = 0.0
    for one, next_one in pairwise(run.measurements):
        is_interrupted = any(one["time"] < session["time"] < next_one["time"] for session in run.sessions)
        if not is_interrupted and next_one["step"] > one["step"]:
            seconds += next_one["time"] - one["time"]
            steps += next_one["step"] - one["step"]
    return seconds / steps if steps else None


def earlier_runs(runs_dir: Path, wanted: Mapping[str, Any]) -> Iterator[tuple[Path, Run]]:
    """Earlier runs under the same conditions, the newest first.

    Of each only the first line is read before it is known to be one.

    Args:
        runs_dir: where runs are.
        wanted: `conditions` of this one.
    """
    found: list[tuple[float, Path]] = []
    with contextlib.suppress(OSError):
        for path in runs_dir.iterdir():
            with contextlib.suppress(OSError):
                found.append(((path / LEDGER_NAME).stat().st_mtime, path))
    for _, path in sorted(found, reverse=True)[:_MAX_RUNS]:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, LedgerError):
            with (path / LEDGER_NAME).open("rb") as file:
                (first,) = decode_events([file.readline().rstrip(b"\n")], 0)
            if conditions(first) == wanted:
                yield path, load_run(path)[0]


def conditions(event: Event) -> dict[str, Any]:
    """What a run's pace depends on, of its ``run`` event."""
    config, data = event["config"], event["data"]
    task = {
        key: value for key, value in config.get("proxy_task", {}).items() if key not in _UNTIMED
    } or config["train"]
    search = config.get("search", {})
    plain: dict[str, Any] = json.loads(
        json.dumps(
            {
                "task": task,
                "model": (event.get("training") or {}).get("model"),
                "machine": event.get("machine"),
                "ray_address": search.get("ray_address"),
                "gpus_per_trial": search.get("gpus_per_trial"),
                "processes": search.get("num_workers") if "train" in config else None,
                "num_train_images": data["num_train_images"],
                "num_held_out_images": data["num_held_out_images"],
            }
        )
    )
    return plain
