"""Ray Tune's trials per second, for `engine_speed.py` to set beside ours."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from typing import Any

from ray import tune
from ray.tune import Callback


def _instant(config: dict[str, Any]) -> None:
    """A trial that does nothing."""
    tune.report({"ap": 0.0})


class _Times(Callback):
    """When each trial ended."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.seconds.append(time.perf_counter())


def tune_rate(num_trials: int, *, reuse_actors: bool) -> float:
    """Trials that do nothing per second, from the first end to the last.

    Args:
        num_trials: how many.
        reuse_actors: Tune's setting of that name.

    Raises:
        Exception: a trial failed, and the rate would be none of trials that do nothing.
    """
    times = _Times()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        results = tune.Tuner(
            _instant,
            tune_config=tune.TuneConfig(num_samples=num_trials, reuse_actors=reuse_actors),
            run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[times]),
        ).fit()
    if results.errors:
        raise results.errors[0]
    return (num_trials - 1) / (times.seconds[-1] - times.seconds[0])
