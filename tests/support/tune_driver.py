"""A Tuner of a user's own around our searcher, to be killed: ``tune_driver.py FOLDER CONCURRENCY``.

Begins the experiment ``FOLDER/experiment``, or resumes the one there. Every start of a trial leaves a
file in ``FOLDER``. Connects to the Ray of ``RAY_ADDRESS``.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import ray
from fake_scorer import fake_score
from fake_search import build_controller
from fake_space import SPACE
from ray import tune

from spinesearch.search.tune_searcher import SpineSearcher
from spinesearch.space import ArchSpec

NUM_TRIALS = 14


def build_searcher() -> SpineSearcher:
    return SpineSearcher(
        build_controller("reinforce", 0),
        SPACE,
        metric="ap",
        generation_size=4,
        lag=1,
        num_trials=NUM_TRIALS,
    )


def score(config: dict) -> None:
    folder = Path(config["folder"])
    (folder / f"start-{config['candidate']}-{config['arch_id']}-{time.time_ns()}").touch()
    tune.report(fake_score(ArchSpec.from_json(config["spec"]), config["seed"]))


def main() -> None:
    folder, concurrency = Path(sys.argv[1]), int(sys.argv[2])
    ray.init(runtime_env={"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"]}}, log_to_driver=False)
    experiment = folder / "experiment"
    if tune.Tuner.can_restore(experiment):
        tuner = tune.Tuner.restore(str(experiment), trainable=score)
    else:
        tuner = tune.Tuner(
            score,
            param_space={"folder": str(folder)},
            tune_config=tune.TuneConfig(
                search_alg=build_searcher(),
                num_samples=-1,
                max_concurrent_trials=concurrency,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(name="experiment", storage_path=str(folder), verbose=0),
        )
    tuner.fit()


if __name__ == "__main__":
    main()
