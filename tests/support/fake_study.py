"""Studies with the fake scorer of `fake_search`; served to be killed, see `forked_work`."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fake_scorer import FakeScorer
from fake_search import only
from fake_space import SPACE
from forked_work import serve

from spinesearch.results.ledger.ledger import LEDGER_NAME, Ledger
from spinesearch.results.ledger.run import Run
from spinesearch.results.studies.study import Study
from spinesearch.search.loop.loop import run_loop
from spinesearch.search.loop.observer import SearchObserver
from spinesearch.search.scoring.scorer import Scorer
from spinesearch.search.study.study import Known, StudyCandidates, StudyPlan, sample_architectures


def plan(kind: str = "variance", *, archs: int = 6, seeds: int = 3) -> StudyPlan:
    return StudyPlan(
        kind=kind, num_archs=archs, num_seeds=seeds, seed=5, reward_metric="ap", failed_reward=0.0
    )


def run_event(wanted: StudyPlan, **fields: Any) -> dict[str, Any]:
    """The first event of a study, with what reports need."""
    config: dict[str, Any] = {
        "search": {"reward_metric": "ap"},
        "seed": wanted.seed,
        "proxy_task": {},
        "data": {},
    }
    study: dict[str, Any] = {
        "kind": wanted.kind,
        "num_archs": wanted.num_archs,
        "num_seeds": wanted.num_seeds,
    }
    if wanted.kind == "correlate":
        study["b"] = {"config": {**config, "proxy_task": {"num_steps": 2000}}, "data": {}}
        config["proxy_task"] = {"num_steps": 200}
    return {"event": "run", "config": config, "study": study, "data": {}, "time": time.time(), **fields}


def carry_out(
    run_dir: Path,
    wanted: StudyPlan,
    *,
    scorer: Scorer | None = None,
    known: Known | None = None,
    observer: SearchObserver | None = None,
    retries: bool = False,
) -> Run:
    """Begin or continue a study."""
    with Ledger(run_dir) as ledger:
        run = Run.from_events(run_dir / LEDGER_NAME, ledger.contents.events)
        event = run_event(wanted)
        ledger.append([event])
        run.apply(event)
        archs = sample_architectures(SPACE, num_archs=wanted.num_archs, seed=wanted.seed)
        run_loop(
            source=StudyCandidates(wanted, archs, known, run_dir=run_dir, retries=retries),
            space=SPACE,
            scorers=only(scorer or FakeScorer()),
            ledger=ledger,
            run=run,
            observer=observer or SearchObserver(),
        )
        return run


def made(kind: str, scores: Mapping[str, Sequence[Sequence[Mapping[str, float] | None]]]) -> Study:
    """A finished study with these metrics, by side, architecture and seed; None where a training failed.

    A training took 10 s on side b and 2 s elsewhere, one after the other.
    """
    first = next(iter(scores.values()))
    wanted = plan(kind, archs=len(first), seeds=len(first[0]))
    places = {"machine": "a machine", "version": "1", "torch": "2", "python": "3", "command": "spinesearch x"}
    run = Run()
    run.apply(run_event(wanted, **places, time=0.0))
    now, results = 0.0, []
    for side, rows in scores.items():
        for arch, row in enumerate(rows):
            for seed, metrics in zip(wanted.seeds(side), row, strict=True):
                trial = len(run.trials)
                proposed = {"side": side, "seed": seed, "tokens": [], "arch_id": f"{arch:012x}"}
                run.apply({"event": "propose", "trial": trial, **proposed})
                now += (seconds := 10.0 if side == "b" else 2.0)
                result = {"event": "result", "trial": trial, "seconds": seconds, "time": now}
                ended = {"status": "failed", "reason": "it broke", "reward": 0.0}
                if metrics is not None:
                    ended = {"status": "completed", "metrics": dict(metrics), "reward": metrics["ap"]}
                results.append(result | ended)
    for result in results:
        run.apply(result)
    return Study(run)


def work(line: str) -> int:
    """Carry out the study of a line: RUN_DIR KIND NUM_ARCHS NUM_SEEDS."""
    run_dir, kind, num_archs, num_seeds = line.split()
    # The order in which workers finish differs every time.
    scorer = FakeScorer(num_workers=3, order=os.getpid(), delay_s=0.004)
    carry_out(Path(run_dir), plan(kind, archs=int(num_archs), seeds=int(num_seeds)), scorer=scorer)
    return 0


if __name__ == "__main__":
    serve(work)
