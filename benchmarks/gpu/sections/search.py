"""A search of four candidates in this process, through the code that `spinesearch search` runs."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from check_parts import DRAWN, QUICK_DRAWN, Emit, Part, table
from rich.console import Console

from spinesearch.search.config.run_config import compose, run_config
from spinesearch.search.session import search

_QUICK = (*QUICK_DRAWN, "proxy_task.num_steps=2", "proxy_task.batch_size=4", "proxy_task.warmup_steps=1")
_NUM_TRIALS = 4


def run(quick: bool, emit: Emit) -> None:
    """Emit what the ledger says of the candidates."""
    with tempfile.TemporaryDirectory() as folder:
        config = run_config(
            compose(
                [
                    *(_QUICK if quick else DRAWN),
                    f"runs_dir={folder}",
                    "name=gpu-check",
                    "search.engine=serial",
                    f"search.num_trials={_NUM_TRIALS}",
                    f"search.generation_size={_NUM_TRIALS // 2}",
                    "search.finalists=0",
                ]
            )
        )
        started = time.perf_counter()
        finished = search(config, Path(folder) / "gpu-check", Console(file=sys.stdout, width=120))
        seconds = time.perf_counter() - started
    completed = [trial for trial in finished.trials if trial.status == "completed"]
    rows = [
        (
            trial.trial,
            trial.arch_id,
            f"{trial.metrics['ap']:.4f}",
            f"{trial.metrics['images_per_s']:.0f}",
            f"{trial.seconds:.1f}",
        )
        for trial in completed
    ]
    lines = [
        f"{config.proxy_task.image_size} px, {config.proxy_task.num_steps} steps; {len(finished.updates)} "
        f"updates of the controller; {seconds:.1f} s in all, with opening the data.",
        "",
        *table(("trial", "architecture", "AP", "training images/s", "s"), rows),
    ]
    failed = [f"trial {trial.trial}: {trial.reason}" for trial in finished.trials if trial.status == "failed"]
    if len(finished.updates) != 2:
        failed.append(f"{len(finished.updates)} updates of the controller instead of 2")
    values = {
        "seconds": seconds,
        "trials": [
            {"status": t.status, "seconds": t.seconds, "metrics": dict(t.metrics)} for t in finished.trials
        ],
    }
    emit(Part(title="", lines=lines, values=values, problem="; ".join(failed)))
