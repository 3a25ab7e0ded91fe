"""A study's trainings: the same architectures, each with every seed. No Ray and no hydra in here.

There is nothing to learn on the way, so all trainings are proposed at once, and going on with a study is:
propose what the ledger does not have yet, and train what has no result yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from spinesearch.controller.protocol import candidate_rng
from spinesearch.results.failures import common_reasons
from spinesearch.results.ledger.ledger import Event, Ledger
from spinesearch.results.ledger.run import Run, Trial
from spinesearch.results.studies.study import SIDES, Kind
from spinesearch.search.loop.observer import SearchObserver
from spinesearch.search.scoring.attempts import record_stop
from spinesearch.search.scoring.reward import ended_event
from spinesearch.search.scoring.scorer import EngineError, Scorer, job_of
from spinesearch.space import SearchSpace

_TICK_S = 0.5  # how often observers hear that time passes
_HOPELESS = 5  # trainings that fail, none that completes
_MAX_DRAWS_PER_ARCH = 200  # until a space is taken to have no further architectures

Arch = tuple[tuple[int, ...], str]
"""Tokens and arch_id of an architecture."""

OpenScorer = Callable[[str], AbstractContextManager[Scorer]]
"""Opens the engine of a side."""

Known = Mapping[tuple[str, str, int], tuple[Trial, str]]
"""Completed trials of other runs, by side, arch_id and seed, and the name of the run they come from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyPlan:
    """What decides a study's trainings, apart from space and settings.

    Attributes:
        kind: what is studied.
        num_archs: different architectures.
        num_seeds: seeds of each, per side.
        seed: of the architectures, and the first of the trainings.
        reward_metric: without a finite value of it, a training has failed.
        failed_reward: what a search would give it then.
    """

    kind: Kind
    num_archs: int
    num_seeds: int
    seed: int
    reward_metric: str
    failed_reward: float

    def seeds(self, side: str) -> range:
        """The seeds of a side's trainings.

        Two sides never share one: chance that favours an architecture on both would pass for agreement.
        """
        sides = SIDES[self.kind]
        return range(self.seed + sides.index(side), self.seed + len(sides) * self.num_seeds, len(sides))


def sample_architectures(space: SearchSpace, *, num_archs: int, seed: int) -> list[Arch]:
    """The first different candidates that a random search with this seed proposes.

    Raises:
        ValueError: the space has hardly so many networks.
    """
    found: dict[str, tuple[int, ...]] = {}
    for i in range(_MAX_DRAWS_PER_ARCH * num_archs):
        if len(found) == num_archs:
            break
        tokens = space.sample(candidate_rng(seed, i))
        found.setdefault(space.decode(tokens).arch_id, tokens)
    if len(found) < num_archs:
        raise ValueError(
            f"--archs: {num_archs} different networks were not found in the space {space.name}, only "
            f"{len(found)}; ask for that many"
        )
    return [(tokens, arch_id) for arch_id, tokens in found.items()]


def run_study(
    *,
    plan: StudyPlan,
    space: SearchSpace,
    archs: Sequence[Arch],
    open_scorer: OpenScorer,
    ledger: Ledger,
    run: Run,
    observer: SearchObserver,
    known: Known | None = None,
    clock: Callable[[], float] = time.time,
) -> None:
    """Carry a study to its end, from wherever ``run`` stands.

    Args:
        plan: see `StudyPlan`; at least what the ledger holds.
        space: turns tokens into specs.
        archs: the plan's, see `sample_architectures`.
        open_scorer: called once per side that has trainings left.
        ledger: the study's ledger, open for writing, with its first ``run`` event written.
        run: what the ledger holds; kept up to date.
        observer: told of everything.
        known: results of other runs to take over.
        clock: Unix time, for the results' time stamps.

    Raises:
        EngineError: the scorer cannot go on, or whatever is trained fails.
    """
    num_trials = plan.num_archs * plan.num_seeds * len(SIDES[plan.kind])

    def record(events: list[Event]) -> None:
        ledger.append(events)
        for event in events:
            run.apply(event)

    observer.started(run, num_trials)
    try:
        record(_missing_proposals(plan, archs, run))
        for event in _known_results(run, known or {}, clock()):
            record([event])
            observer.finished(run.trials[event["trial"]])
        for side in SIDES[plan.kind]:
            left = [trial for trial in run.trials if trial.side == side and not trial.is_done]
            if not left:
                continue
            with open_scorer(side) as scorer:
                for trial in left:
                    assert trial.seed is not None
                    spec = space.decode(trial.tokens)
                    scorer.submit(job_of(trial, spec, trial.seed))
                ended_here: list[Trial] = []
                while left := [trial for trial in left if not trial.is_done]:
                    for ended in scorer.wait(_TICK_S):
                        event = ended_event(
                            ended, metric=plan.reward_metric, failed_reward=plan.failed_reward
                        )
                        record([{**event, "time": clock()}])
                        if event["event"] == "result":
                            ended_here.append(run.trials[ended.trial])
                            observer.finished(ended_here[-1])
                    _check_not_all_failed(side, ended_here)
                    observer.ticked(scorer.num_running)
    finally:
        record_stop(ledger, run, clock())
        observer.ended()


def _check_not_all_failed(side: str, ended: Sequence[Trial]) -> None:
    """Stop early where a setting lets no candidate live: there is nothing to learn from the rest."""
    if len(ended) < _HOPELESS or any(trial.status != "failed" for trial in ended):
        return
    reasons = "; ".join(f"{len(group)} x {reason}" for reason, group in common_reasons(ended)[:3])
    of_side = f" of side {side}" if side else ""
    raise EngineError(
        f"the first {len(ended)} trainings{of_side} all failed: {reasons}. Mend the cause, then go on with "
        "the others, or begin another study where a setting is to blame"
    )


def _missing_proposals(plan: StudyPlan, archs: Sequence[Arch], run: Run) -> list[Event]:
    """Proposals of every training of the plan that the run has not proposed, side by side, seed by seed."""
    proposed = {(trial.side, trial.seed, trial.arch_id) for trial in run.trials}
    wanted = [
        {"side": side, "seed": seed, "tokens": list(tokens), "arch_id": arch_id}
        for side in SIDES[plan.kind]
        for seed in plan.seeds(side)
        for tokens, arch_id in archs
        if (side, seed, arch_id) not in proposed
    ]
    return [
        {"event": "propose", "trial": number, **fields}
        for number, fields in enumerate(wanted, start=len(run.trials))
    ]


def _known_results(run: Run, known: Known, now: float) -> list[dict[str, Any]]:
    """Results of trials that another run has completed under the same conditions."""
    events = []
    for trial in run.trials:
        assert trial.seed is not None
        found = known.get((trial.side, trial.arch_id, trial.seed))
        if trial.is_done or found is None:
            continue
        other, name = found
        event = {
            "event": "result",
            "trial": trial.trial,
            "status": "completed",
            "reward": other.reward,
            "metrics": dict(other.metrics),
            "seconds": other.seconds,
            "worker": other.worker,
            "reused_from": name,
            "time": now,
        }
        events.append(event)
    return events
