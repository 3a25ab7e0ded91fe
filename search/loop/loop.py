"""The loop of a run: propose, score, learn, record. No Ray and no hydra in here.

What is proposed, and when results are learnt from, is the business of a *source*: the generations of a
controller (`spinesearch.search.loop.controlled`) or the fixed list of a study (`spinesearch.search.study`).
The loop carries out its steps: it writes the ledger, scores each network once, and waits.

Resuming needs no code of its own. The source goes through the same steps from what the ledger holds:
proposals and results are taken from it, and only what is missing is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spinesearch.results.ledger.ledger import Ledger
from spinesearch.results.ledger.lines import Event
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import FINALISTS, Trial
from spinesearch.search.loop.observer import SearchObserver
from spinesearch.search.loop.source import CandidateSource, Step
from spinesearch.search.scoring.attempts import record_stop
from spinesearch.search.scoring.reward import ended_event
from spinesearch.search.scoring.scorer import Outcome, ScorerEvent, job_of
from spinesearch.search.scoring.scorers import Scorers
from spinesearch.search.scoring.trial_files import TrialFiles
from spinesearch.space import ArchSpec, ResNetSpec, SearchSpace

_TICK_S = 0.5  # how often observers are informed that time passes
_Trained = tuple[str, int | None, str]  # a network; in a study on a side, with a seed
_UNTIMED = ("propose", "update")  # events that say nothing of when they happened


def run_loop(
    *,
    source: CandidateSource,
    space: SearchSpace,
    scorers: Scorers,
    ledger: Ledger,
    run: Run,
    observer: SearchObserver,
    clock: Callable[[], float] = time.time,
) -> None:
    """Carry a run to its end, from wherever ``run`` stands.

    Args:
        source: where candidates come from.
        space: turns choices into specs.
        scorers: score candidates, by side; the caller closes them.
        ledger: the run's ledger, open for writing, with its first ``run`` event written.
        run: what the ledger holds; kept up to date.
        observer: receives everything that happens.
        clock: Unix time, for the events' time stamps.

    Raises:
        EngineError: the scorer cannot continue, or the source stops the run.
    """
    loop = _Loop(source, space, scorers, ledger, run, observer, clock)
    observer.started(run, source.plan.num_trials)
    try:
        for step in source.steps(run, observer.warned):
            loop.carry_out(step)
    finally:
        record_stop(ledger, run, clock())
        observer.ended()


class _Loop:
    """The parts of a step and the state they share."""

    def __init__(
        self,
        source: CandidateSource,
        space: SearchSpace,
        scorers: Scorers,
        ledger: Ledger,
        run: Run,
        observer: SearchObserver,
        clock: Callable[[], float],
    ) -> None:
        self._source = source
        self._space = space
        self._scorers = scorers
        self._ledger = ledger
        self._run = run
        self._observer = observer
        self._clock = clock
        self._files = TrialFiles(ledger.run_dir, observer.warned)
        self._side = ""
        self._first_of: dict[_Trained, Trial] = {}  # the first trial of everything that is trained
        self._duplicates: dict[int, list[Trial]] = {}  # trials that wait for the result of another

    def carry_out(self, step: Step) -> None:
        """Record, hand out, wait."""
        self._record(step.events)
        for trial in step.trials:
            self._hand_out(trial, step.specs.get(trial.trial))
        awaited = step.awaited
        while awaited := [trial for trial in awaited if not trial.is_done]:
            scorer = self._scorers.of(self._side)
            # One flush for all that ended by now.
            events = [event for ended in scorer.wait(_TICK_S) for event in self._events_of(ended)]
            self._record(events)
            self._source.check_results(
                [self._run.trial_of(event) for event in events if event["event"] == "result"]
            )
            self._observer.ticked(scorer.num_running)

    def _hand_out(self, trial: Trial, spec: ArchSpec | ResNetSpec | None) -> None:
        """Submit a trial, or answer it from the one it duplicates, unless it has its result."""
        original = self._first_of.setdefault(_trained(trial), trial)
        if original.is_masked:  # nothing is known of it, so the next of its kind is tried
            original = self._first_of[_trained(trial)] = trial
        if trial.is_done:
            return
        if original is trial:
            self._submit(trial, spec)
        elif original.is_done:
            self._record([_duplicate_event(trial, original)])
        else:
            self._duplicates.setdefault(original.trial, []).append(trial)

    def _submit(self, trial: Trial, spec: ArchSpec | ResNetSpec | None = None) -> None:
        self._side = trial.side
        seed = self._source.plan.seed if trial.seed is None else trial.seed
        spec = spec or self._space.decode(trial.tokens)
        self._scorers.of(trial.side).submit(job_of(trial, spec, seed, request=self._source.request(trial)))

    def _events_of(self, ended: ScorerEvent) -> list[dict[str, Any]]:
        """The event of a result, and those of the trials that waited for it; or that of an attempt.

        Of a candidate that the infrastructure failed, the first that waited for it is submitted instead.
        """
        plan = self._source.plan
        event = ended_event(
            ended,
            metric=plan.reward_metric,
            failed_reward=plan.failed_reward,
            soft_cost=plan.soft_cost,
        )
        if self._side == FINALISTS:  # their numbers are their own; in a study a trial has one number
            event["side"] = FINALISTS
        if not isinstance(ended, Outcome):
            return [event]
        if digests := self._files.write(ended.trial, ended.files, side=event.get("side", "")):
            event["files"] = digests
        waiting = self._duplicates.pop(ended.trial, [])
        if ended.is_lost:
            if waiting:
                first, *self._duplicates[waiting[0].trial] = waiting
                self._first_of[_trained(first)] = first
                self._submit(first)
            return [event]
        original = self._run.trial_of(event)
        return [event, *(_duplicate_event(trial, original, event) for trial in waiting)]

    def _record(self, events: Sequence[Event]) -> None:
        events = [
            event if event["event"] in _UNTIMED else {**event, "time": self._clock()} for event in events
        ]
        self._ledger.append(events)
        for event in events:
            self._run.apply(event)
        for event in events:
            self._observer.recorded(event, self._run)


def _trained(trial: Trial) -> _Trained:
    return trial.side, trial.seed, trial.arch_id


def _duplicate_event(
    trial: Trial, original: Trial, result: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The result of a trial whose network another trial has scored.

    Args:
        trial: the duplicate.
        original: the trial that was scored.
        result: the original's result event if ``original`` does not hold it yet.
    """
    return {
        "event": "result",
        "trial": trial.trial,
        "status": "duplicate",
        "duplicate_of": original.trial,
        "reward": result["reward"] if result else original.reward,
        "metrics": dict(result.get("metrics", {}) if result else original.metrics),
    }
