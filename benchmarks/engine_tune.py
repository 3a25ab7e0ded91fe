"""Ray Tune's trials per second, for `engine_speed.py` to set beside ours."""

from __future__ import annotations

import os
import tempfile
import time
from typing import Any

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # read when Tune is imported

from ray import tune
from ray.tune import Callback


class _Instant(tune.Trainable):
    """A trial that does nothing, in an actor that can be used again."""

    def step(self) -> dict[str, Any]:
        return {"ap": 0.0, "done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True


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
    """
    times = _Times()
    with tempfile.TemporaryDirectory() as folder:
        tune.Tuner(
            _Instant,
            tune_config=tune.TuneConfig(num_samples=num_trials, reuse_actors=reuse_actors),
            run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[times]),
        ).fit()
    return (num_trials - 1) / (times.seconds[-1] - times.seconds[0])
