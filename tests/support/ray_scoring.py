"""What tests of the Ray engine ask of a scorer again and again."""

import time

import ray
from ray.exceptions import RayActorError

from spinesearch.search.scoring.scorer import Outcome
from spinesearch.search.workers.ray_scorer import RayScorer


def finish(scorer: RayScorer, count: int, timeout_s: float = 120):
    """Outcomes; attempts that were lost are left out."""
    outcomes = []
    end = time.monotonic() + timeout_s
    while len(outcomes) < count:
        assert time.monotonic() < end
        outcomes += [ended for ended in scorer.wait(0.2) if isinstance(ended, Outcome)]
    return outcomes


def wait_until_dead(actor, end: float) -> None:
    """A kill takes a moment to arrive."""
    while time.monotonic() < end:
        try:
            ray.get(actor.ping.remote())
        except RayActorError:
            return
    raise AssertionError("the worker is still alive")


def recorded(outcome):
    """What must not depend on the engine."""
    run, digest = outcome
    trials = [
        (t.trial, t.tokens, t.log_probs, t.arch_id, t.status, t.reward, dict(t.metrics), t.reason)
        for t in run.trials
    ]
    return trials, [(u.update, dict(u.stats), u.digest) for u in run.updates], digest
