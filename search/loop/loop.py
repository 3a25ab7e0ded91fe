"""The loop of a run: propose, score, learn, record. No Ray and no hydra in here.

What is proposed, and when results are learnt from, is the business of a *source*: the generations of a
controller (`spinesearch.search.loop.controlled`) or the fixed list of a study (`spinesearch.search.study`).
The loop carries out its steps: it writes the ledger, scores each network once, and waits.

Resuming needs no code of its own. The source goes through the same steps from what the ledger holds:
proposals and results are taken from it, and only what is missing is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from spinesearch.proxy_task.request import STATE
from spinesearch.results.ledger.files import KeptFile
from spinesearch.results.ledger.ledger import Ledger
from spinesearch.results.ledger.lines import Event
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import FINALISTS, Trial
from spinesearch.search.loop.networks import Networks, Trained, taken_over, trained
from spinesearch.search.loop.observer import SearchObserver
from spinesearch.search.loop.source import CandidateSource, Step
from spinesearch.search.scoring.attempts import record_stop
from spinesearch.search.scoring.reward import ended_event, latency_event, stopped_event
from spinesearch.search.scoring.scorer import EngineError, Outcome, ScorerEvent, job_of
from spinesearch.search.scoring.scorers import Scorers
from spinesearch.search.scoring.trial_files import TrialFiles
from spinesearch.space import ArchSpec, ResNetSpec, SearchSpace

_TICK_S = 0.5  # how often observers are informed that time passes
_ENDS = ("rung", "result")  # events by which a training ends
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
        still_open = {trained(trial) for trial in run.trials if not trial.is_done}
        self._files.sweep(STATE, {t.trial for t in run.trials if trained(t) in still_open})
        self._halving = source.plan.halving
        self._side = ""
        self._latency_device = next((latency.device for latency in run.latencies.values()), None)
        self._networks = Networks()
        self._waiting: dict[Trained, list[Trial]] = {}  # for an earlier trial of their network
        self._busy: set[tuple[str, int]] = set()  # trials in training, or waiting, by side and number

    def carry_out(self, step: Step) -> None:
        """Record, hand out, wait."""
        self._record(step.events)
        events: list[Event] = []
        for trial in step.trials:
            self._networks.add(trial)
            if not trial.is_done and not trial.rungs:  # those at a rung wait for their generation
                events += self._hand_out(trial, step.specs.get(trial.trial))
        self._follow(events, (trial for trial in step.trials if trial.rungs and not trial.is_done))
        awaited = step.awaited
        while awaited := [trial for trial in awaited if not trial.is_done]:
            scorer = self._scorers.of(self._side)
            self._take_in(scorer.wait(_TICK_S))
            self._observer.ticked(scorer.num_running)

    def _take_in(self, reported: Sequence[ScorerEvent]) -> None:
        """Record, in one flush, what a scorer reports, and what follows from it.

        Raises:
            EngineError: something of it ends the run; what came before it is recorded.
        """
        events: list[Event] = []
        try:
            for ended in reported:
                events += self._events_of(ended)
        except EngineError:
            self._record(events)
            raise
        self._follow(events)

    def _follow(self, events: Sequence[Event], trials: Iterable[Trial] = ()) -> None:
        """Record events, and whatever follows from them and for these trials, until nothing more does."""
        while events or trials:
            self._record(events)
            ended = [self._run.trial_of(event) for event in events if event["event"] in _ENDS]
            results = [trial for trial in ended if trial.is_done]
            self._source.check_results(results)
            for trial in results:
                self._remove_states(self._networks.ended(trial))
            generations = {trial.generation for trial in (*ended, *trials)}
            events, trials = [*self._answer_waiting(ended), *self._decide(generations)], ()

    def _answer_waiting(self, ended: Sequence[Trial]) -> Iterator[Event]:
        """Hand out what waited for these trials, and is answered or trained now."""
        for trial in ended:
            self._busy.discard((trial.side, trial.trial))
            for waiting in self._waiting.pop(trained(trial), ()):
                yield from self._hand_out(waiting)

    def _decide(self, generations: Iterable[int]) -> Iterator[Event]:
        """Stop those that do not go on from their rung, and hand the others out, where that is decided."""
        for generation in sorted(generations):
            for trial, goes_on in self._halving.decided(self._run, generation, self._is_busy):
                if goes_on:
                    yield from self._hand_out(trial)
                else:
                    yield stopped_event(trial, self._halving.reward(trial.rungs[-1]))

    def _is_busy(self, trial: Trial) -> bool:
        return (trial.side, trial.trial) in self._busy

    def _hand_out(self, trial: Trial, spec: ArchSpec | ResNetSpec | None = None) -> Iterator[Event]:
        """Submit a trial's next training, or answer it from another trial's, or have it wait for that."""
        self._busy.add((trial.side, trial.trial))
        other = self._networks.ahead_of(trial)
        if other is None:
            self._submit(trial, spec)
        elif event := taken_over(trial, other):
            yield event
        else:
            self._waiting.setdefault(trained(trial), []).append(trial)

    def _submit(self, trial: Trial, spec: ArchSpec | ResNetSpec | None) -> None:
        self._side = trial.side
        seed = self._source.plan.seed if trial.seed is None else trial.seed
        spec = spec or self._space.decode(trial.tokens)
        job = job_of(trial, spec, seed, request=self._source.request(trial), state=self._state_of(trial))
        self._scorers.of(trial.side).submit(job)

    def _state_of(self, trial: Trial) -> KeptFile | None:
        """The state that a trial's next training goes on from, if the last rung has left one."""
        if not trial.rungs or STATE not in trial.rungs[-1].files:
            return None
        last = trial.rungs[-1]
        owner = trial.trial if last.duplicate_of is None else last.duplicate_of
        return self._files.kept(owner, STATE, last.files[STATE], part=_part(len(trial.rungs) - 1))

    def _remove_states(self, trials: Iterable[Trial]) -> None:
        """Remove the states of trials from which nobody is going on now."""
        for trial in trials:
            for rung, part in enumerate(trial.rungs):
                if STATE in part.files:
                    self._files.remove(trial.trial, STATE, part=_part(rung))

    def _events_of(self, ended: ScorerEvent) -> Iterator[Event]:
        """The events of what a scorer reports, with the files written that came with it."""
        plan = self._source.plan
        # Finalists' numbers are their own; in a study a trial has one number.
        place = {"side": FINALISTS} if self._side == FINALISTS else {}
        trial = self._run.trial_of({**place, "trial": ended.trial})
        rungs = () if place else self._halving.rungs
        if measured := latency_event(ended, trial, self._latency_device):
            self._latency_device = measured["device"]
            yield measured
        event = place | ended_event(
            ended,
            trial,
            rungs,
            metric=plan.reward_metric,
            failed_reward=plan.failed_reward,
            soft_cost=plan.soft_cost,
        )
        if isinstance(ended, Outcome):
            part = _part(len(trial.rungs)) if event["event"] == "rung" else ""
            written = self._files.write(ended.trial, ended.files, side=place.get("side", ""), part=part)
            event |= {"files": written} if written else {}
        yield event

    def _record(self, events: Sequence[Event]) -> None:
        events = [
            event if event["event"] in _UNTIMED else {**event, "time": self._clock()} for event in events
        ]
        self._ledger.append(events)
        for event in events:
            self._run.apply(event)
        for event in events:
            self._observer.recorded(event, self._run)


def _part(rung: int) -> str:
    """A rung in the names of files."""
    return f"rung-{rung}"
