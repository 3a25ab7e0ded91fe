"""A reward of your own: AR100 of the proxy task, less what the network costs.

    python examples/own_reward.py [key=value ...]

A reward is one of the metrics that scoring a candidate gives. Here `score` adds one, and the loop of a
search is put together from its parts, with a ledger that `spinesearch show` reads. The same command
again resumes it; `spinesearch resume` refuses the run, as it has no reward `worth`.
"""

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from spinesearch.results.ledger.ledger import LEDGER_NAME, Ledger
from spinesearch.results.ledger.run import Run, ranked_trials
from spinesearch.search.config.run_config import compose, run_config
from spinesearch.search.engine import open_run_data
from spinesearch.search.loop.checkpoint import Checkpoints
from spinesearch.search.loop.controlled import ControlledCandidates, SearchPlan
from spinesearch.search.loop.loop import run_loop
from spinesearch.search.scoring.proxy_score import proxy_score
from spinesearch.search.scoring.scorers import Scorers
from spinesearch.search.scoring.serial_scorer import SerialScorer
from spinesearch.search.session import run_event
from spinesearch.search.watchers.display import Display
from spinesearch.space import ArchSpec, ResNetSpec

PER_GIGA = 0.001  # reward lost per 1e9 multiply-adds


def main(settings: Sequence[str]) -> None:
    """Search by it, one candidate after the other in this process."""
    config = run_config(compose(["name=own_reward", *settings]))
    space, console = config.space.build(), Console()
    data = open_run_data(config, console)
    proxy = proxy_score(config.proxy_task, data)

    def score(spec: ArchSpec | ResNetSpec, seed: int) -> Mapping[str, Any]:
        metrics = dict(proxy(spec, seed))
        cost = PER_GIGA * metrics["num_multiply_adds"] / 1e9
        return {**metrics, "worth": metrics["ar100"] - cost}

    plan = SearchPlan(
        seed=config.seed,
        num_trials=config.search.num_trials,
        generation_size=config.search.generation_size,
        lag=config.search.lag,
        reward_metric="worth",
        failed_reward=-1.0,
        max_failed_share=config.search.max_failed_share,
    )
    run_dir = Path(config.runs_dir) / "own_reward"
    with Ledger(run_dir) as ledger, contextlib.closing(SerialScorer(lambda: score)) as scorer:
        run = Run.from_events(run_dir / LEDGER_NAME, ledger.contents.events)
        event = run_event(config, data)
        reward = {"reward_metric": plan.reward_metric, "failed_reward": plan.failed_reward}
        event["config"]["search"] |= reward
        ledger.append([event])
        run.apply(event)
        controller = config.controller.build(space, seed=config.seed)
        run_loop(
            source=ControlledCandidates(plan, space, controller, Checkpoints(run_dir, keep=plan.lag + 2)),
            space=space,
            scorers=Scorers(lambda side: contextlib.nullcontext(scorer)),
            ledger=ledger,
            run=run,
            observer=Display(console, reward_metric=plan.reward_metric),
        )
    best = ranked_trials(run.trials)[0]
    print(f"best: trial {best.trial}, worth {best.reward:.4f}, AR100 {best.metrics['ar100']:.4f}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:  # bad input, which its one line explains
        sys.exit(str(error))
