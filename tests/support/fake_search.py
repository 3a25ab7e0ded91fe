"""Searches with a fake scorer of real behaviour; served to be killed, see `forked_work`."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

from fake_scorer import FakeScorer, RungScore, fake_score
from fake_space import SPACE
from forked_work import serve

from spinesearch.controller import Controller
from spinesearch.controller.bayesian import BayesianSettings
from spinesearch.controller.evolution import EvolutionSettings
from spinesearch.controller.local_search import LocalSearchSettings
from spinesearch.controller.strategies import STRATEGIES
from spinesearch.results.ledger.ledger import LEDGER_NAME, Ledger
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import Trial
from spinesearch.search.config.rungs import Rung
from spinesearch.search.loop.checkpoint import Checkpoints, state_digest
from spinesearch.search.loop.controlled import ControlledCandidates, SearchPlan
from spinesearch.search.loop.finalists import FinalistPlan, Finalists, SearchWithFinalists
from spinesearch.search.loop.loop import run_loop
from spinesearch.search.loop.observer import Observers, SearchObserver
from spinesearch.search.loop.rungs import NO_RUNGS, Halving
from spinesearch.search.loop.source import CandidateSource
from spinesearch.search.runs.mirror import Mirror
from spinesearch.search.scoring.scorer import Scorer
from spinesearch.search.scoring.scorers import Scorers
from spinesearch.search.watchers.mirror_observer import MirrorObserver

RUNGS = Halving(
    rungs=(Rung(num_steps=10, share=0.4), Rung(num_steps=30, share=0.5)), generation_size=8, goes_on=True
)


class Warnings(SearchObserver):
    """Remembers what a search warned of."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def warned(self, message: str) -> None:
        self.messages.append(message)


# Under which strategies learn within a few small generations.
QUICK = {
    "evolution": EvolutionSettings(population_size=8, tournament_size=3),
    "local_search": LocalSearchSettings(patience=7),
    "bayesian": BayesianSettings(num_initial=6, num_looked_at=32, num_rounds=2),
}


def build_controller(name: str, seed: int) -> Controller:
    return QUICK.get(name, STRATEGIES[name]()).build(SPACE, seed=seed)


def only(scorer: Scorer) -> Scorers:
    """The one scorer, on whatever side."""
    return Scorers(lambda side: contextlib.nullcontext(scorer))


def carry_out(
    run_dir: Path,
    *,
    seed: int = 0,
    num_trials: int = 40,
    controller: str = "reinforce",
    scorer: Scorer | None = None,
    lag: int = 1,
    generation_size: int = 4,
    max_failed_share: float = 1.0,
    observer: SearchObserver | None = None,
    mirror: Mirror | None = None,
    halving: Halving = NO_RUNGS,
    finalists: FinalistPlan | None = None,
    searches: bool = True,
    retries: bool = False,
) -> tuple[Run, str]:
    """Begin or continue a run with the fake scorer; the run and the digest of the controller's last state."""
    watching = observer or SearchObserver()
    with Ledger(run_dir) as ledger:
        if mirror is not None:
            mirror.pull(ledger, mirror.read(), run_dir, watching.warned)
            watching = Observers([watching, MirrorObserver(mirror, run_dir, ledger, watching.warned)])
        run = Run.from_events(run_dir / LEDGER_NAME, ledger.contents.events)
        if not run.sessions:
            event = {"event": "run", "config": {}, "time": time.time()}
            ledger.append([event])
            run.apply(event)
        chosen = build_controller(controller, seed)
        plan = SearchPlan(
            seed=seed,
            num_trials=num_trials,
            generation_size=generation_size,
            lag=lag,
            reward_metric="ap",
            failed_reward=0.0,
            max_failed_share=max_failed_share,
            halving=halving,
            learns=controller != "random",
        )
        source: CandidateSource
        source = search = ControlledCandidates(
            plan, SPACE, chosen, Checkpoints(run_dir, keep=lag + 2), retries=retries
        )
        if finalists is not None:
            last = Finalists(finalists, SPACE, retries=retries)
            source = SearchWithFinalists(search, last, searches=searches)
        run_loop(
            source=source,
            space=SPACE,
            scorers=only(scorer or FakeScorer()),
            ledger=ledger,
            run=run,
            observer=watching,
        )
        return run, state_digest(chosen.state_dict())


def proposals(run: Run) -> str:
    return json.dumps([(t.trial, t.generation, t.tokens, t.log_probs, t.arch_id) for t in run.trials])


def results(run: Run) -> str:
    return json.dumps(
        [
            (t.trial, t.status, t.reward, dict(t.metrics), t.duplicate_of, t.reason, t.is_stopped, rungs(t))
            for t in run.trials
        ]
    )


def rungs(trial: Trial) -> list[tuple[object, ...]]:
    return [(part.num_steps, dict(part.metrics), part.duplicate_of) for part in trial.rungs]


def updates(run: Run) -> str:
    return json.dumps([(u.update, dict(u.stats), u.digest) for u in run.updates])


def everything(outcome: tuple[Run, str]) -> tuple[str, str, str, str]:
    run, digest = outcome
    return proposals(run), results(run), updates(run), digest


def work(line: str) -> int:
    """Carry out the run of a line: RUN_DIR SEED NUM_TRIALS CONTROLLER, and a fifth word for rungs."""
    run_dir, seed, num_trials, controller, *rungs = line.split()
    # The order in which workers finish differs every time.
    score = RungScore() if rungs else fake_score
    carry_out(
        Path(run_dir),
        seed=int(seed),
        num_trials=int(num_trials),
        controller=controller,
        scorer=FakeScorer(num_workers=3, order=os.getpid(), delay_s=0.004, score=score),
        **({"halving": RUNGS, "generation_size": RUNGS.generation_size} if rungs else {}),
    )
    return 0


if __name__ == "__main__":
    build_controller("reinforce", 0).suggest(1)  # what is slow the first time
    serve(work)
