"""The search: sample, score, learn, generation by generation. No Ray and no hydra in here.

Candidates come in generations of fixed size. Generation g is sampled by the policy as updated through
generation g - 1 - lag, and an update takes its generation's results in candidate order, whenever they
arrived. So what is proposed
and learnt is a function of configuration and seed: one worker or a hundred, interrupted or not.

Resuming needs no code of its own. The loop goes through the same steps from the newest checkpoint, or from
nothing, and
at each step uses what the ledger already holds: proposals and results are taken from it, and only what is
missing is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from spinesearch.controller import Controller, Rollout
from spinesearch.results.ledger.ledger import Event, Ledger
from spinesearch.results.ledger.run import Run, Trial
from spinesearch.search.loop.checkpoint import Checkpoints, state_digest
from spinesearch.search.loop.failed_share import check_failed_share
from spinesearch.search.loop.observer import SearchObserver
from spinesearch.search.scoring.attempts import record_stop
from spinesearch.search.scoring.reward import ended_event
from spinesearch.search.scoring.scorer import Outcome, Scorer, ScorerEvent, job_of
from spinesearch.space import ArchSpec, SearchSpace

_TICK_S = 0.5  # how often observers hear that time passes


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchPlan:
    """What decides a search's course, apart from its space, controller and scorer.

    Attributes:
        seed: of every candidate's training: all start from the same weights and see the data in the same
            order, so that rewards differ by architecture.
        num_trials: candidates, duplicates included.
        generation_size: candidates per update.
        lag: generations that may be proposed beyond the last one learnt from.
        reward_metric: the metric that is the reward.
        failed_reward: the reward of a failed candidate.
        max_failed_share: of a generation; when more fail, the search stops, see `check_failed_share`.
    """

    seed: int
    num_trials: int
    generation_size: int
    lag: int
    reward_metric: str
    failed_reward: float
    max_failed_share: float = 1.0


def run_search(
    *,
    plan: SearchPlan,
    space: SearchSpace,
    controller: Controller,
    scorer: Scorer,
    ledger: Ledger,
    run: Run,
    checkpoints: Checkpoints,
    observer: SearchObserver,
    clock: Callable[[], float] = time.time,
) -> None:
    """Carry a run to its end, from wherever ``run`` stands.

    A generation that ``num_trials`` cuts short is not learnt from; it is filled up if the run is continued
    with more.

    Args:
        plan: see `SearchPlan`.
        space: turns choices into specs.
        controller: in its initial state.
        scorer: scores candidates.
        ledger: the run's ledger, open for writing, with its first ``run`` event written.
        run: what the ledger holds; kept up to date.
        checkpoints: the controller's states.
        observer: told of everything.
        clock: Unix time, for the results' time stamps.

    Raises:
        EngineError: the scorer cannot go on, or more of a generation failed than the plan allows.
    """
    search = _Search(plan, space, controller, scorer, ledger, run, checkpoints, observer, clock)
    observer.started(run, plan.num_trials)
    try:
        # Up to the update that learns from the last whole generation, which stands before generation `last`.
        # Those from `num_trials` on are sampled but not proposed, so that the controller is where a longer
        # run has it.
        last = plan.num_trials // plan.generation_size + plan.lag
        for generation in range(search.restore(), last + 1):
            if generation > plan.lag:
                search.update(generation - 1 - plan.lag)
            search.propose(generation)
        search.finish()
    finally:
        record_stop(ledger, run, clock())
        observer.ended()


class _Search:
    """The steps of a search and the state they share."""

    def __init__(
        self,
        plan: SearchPlan,
        space: SearchSpace,
        controller: Controller,
        scorer: Scorer,
        ledger: Ledger,
        run: Run,
        checkpoints: Checkpoints,
        observer: SearchObserver,
        clock: Callable[[], float],
    ) -> None:
        self._plan = plan
        self._space = space
        self._controller = controller
        self._scorer = scorer
        self._ledger = ledger
        self._run = run
        self._checkpoints = checkpoints
        self._observer = observer
        self._clock = clock
        self._first_of: dict[str, Trial] = {}  # the first trial of each network
        self._duplicates: dict[int, list[Trial]] = {}  # trials that wait for the result of another
        self._specs: dict[int, ArchSpec] = {}  # of trials proposed and not handed out yet
        self._num_checked = 0  # trials looked at for what is to be done about them
        self._num_updates = 0  # updates the controller has seen

    def restore(self) -> int:
        """Load the newest checkpoint that fits; returns the generation to go on from."""
        plan, run = self._plan, self._run
        num_full_generations = len(run.trials) // plan.generation_size
        # Generation g + 1 + lag follows update g: a state is of use if all before that generation are
        # proposed.
        digests = {u.update: u.digest for u in run.updates if u.update + 1 + plan.lag <= num_full_generations}
        found = self._checkpoints.load_newest(digests)
        if found is None:
            return 0
        update, state = found
        self._controller.load_state_dict(state)
        self._num_updates = update + 1
        self._hand_out((update + 1 + plan.lag) * plan.generation_size)
        return update + 1 + plan.lag

    def propose(self, generation: int) -> None:
        """Sample a generation, record what the ledger does not have yet, and hand it to the scorer."""
        plan, run = self._plan, self._run
        first = generation * plan.generation_size
        events: list[Event] = []
        # Always a whole generation: the last bits of a batch depend on its size.
        suggestions = self._controller.suggest(plan.generation_size)
        for number, suggestion in enumerate(suggestions, start=first):
            if number < len(run.trials):
                if run.trials[number].tokens != suggestion.tokens:
                    self._observer.warned(
                        f"trial {number}: this machine or release samples other choices than the ledger "
                        "records; the ledger's are kept"
                    )
                continue
            if number < plan.num_trials:
                spec = self._specs[number] = self._space.decode(suggestion.tokens)
                events.append(
                    {
                        "event": "propose",
                        "trial": number,
                        "generation": generation,
                        "tokens": list(suggestion.tokens),
                        "log_prob": suggestion.log_prob,
                        "arch_id": spec.arch_id,
                    }
                )
        self._record(events)
        if events:
            self._observer.proposed(run.trials[-len(events) :])
        self._hand_out(min(first + plan.generation_size, plan.num_trials))

    def update(self, generation: int) -> None:
        """Wait for a generation's results and let the controller learn from them, unless it has."""
        if generation < self._num_updates:
            return
        first = generation * self._plan.generation_size
        trials = self._run.trials[first : first + self._plan.generation_size]
        self.collect_until_done(trials)
        stats = self._controller.update([_rollout(trial) for trial in trials])
        self._num_updates = generation + 1
        state = self._controller.state_dict()
        digest = state_digest(state)
        is_new = generation == len(self._run.updates)
        if not is_new:
            if digest != self._run.updates[generation].digest:
                self._observer.warned(
                    f"update {generation}: this machine or release computes another controller than the "
                    "ledger records; the search goes on with this one"
                )
        else:
            self._record([{"event": "update", "update": generation, "stats": stats, "digest": digest}])
            self._observer.updated(self._run.updates[generation])
        try:
            self._checkpoints.save(generation, state)
        except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
            reason = " ".join(str(error).split())[:200]
            self._observer.warned(f"the controller's state was not saved, resuming will replay it: {reason}")
        if is_new:  # not when it is gone through again: so a resumed run goes on
            check_failed_share(generation, trials, self._plan.max_failed_share)

    def finish(self) -> None:
        """Wait for all results, also those of a last generation that is too short to learn from."""
        plan, trials = self._plan, self._run.trials
        generation = plan.num_trials // plan.generation_size
        rest = trials[generation * plan.generation_size :]
        is_new = not all(trial.is_done for trial in rest)
        self.collect_until_done(trials)
        if is_new:
            check_failed_share(generation, rest, plan.max_failed_share)

    def collect_until_done(self, trials: list[Trial]) -> None:
        """Take in results until all these trials have theirs."""
        while trials := [trial for trial in trials if not trial.is_done]:
            # One flush for all that ended by now.
            self._record_results(
                [event for ended in self._scorer.wait(_TICK_S) for event in self._events_of(ended)]
            )
            self._observer.ticked(self._scorer.num_running)

    def _hand_out(self, end: int) -> None:
        """See to every trial up to ``end``: submit it, or answer it from the trial it duplicates."""
        for trial in self._run.trials[self._num_checked : end]:
            original = self._first_of.setdefault(trial.arch_id, trial)
            spec = self._specs.pop(trial.trial, None)
            if trial.is_done:
                continue
            if original is trial:
                spec = spec or self._space.decode(trial.tokens)
                self._scorer.submit(job_of(trial, spec, self._plan.seed))
            elif original.is_done:
                self._record_results([_duplicate_event(trial, original)])
            else:
                self._duplicates.setdefault(original.trial, []).append(trial)
        self._num_checked = end

    def _events_of(self, ended: ScorerEvent) -> list[dict[str, Any]]:
        """The event of a result, and those of the trials that waited for it; or that of an attempt."""
        plan = self._plan
        event = ended_event(ended, metric=plan.reward_metric, failed_reward=plan.failed_reward)
        if not isinstance(ended, Outcome):
            return [event]
        waiting = self._duplicates.pop(ended.trial, [])
        original = self._run.trials[ended.trial]
        return [event, *(_duplicate_event(trial, original, event) for trial in waiting)]

    def _record_results(self, events: list[dict[str, Any]]) -> None:
        self._record([{**event, "time": self._clock()} for event in events])
        for event in events:
            if event["event"] == "result":
                self._observer.finished(self._run.trials[event["trial"]])

    def _record(self, events: list[Event]) -> None:
        self._ledger.append(events)
        for event in events:
            self._run.apply(event)


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


def _rollout(trial: Trial) -> Rollout:
    assert trial.reward is not None
    return Rollout(tokens=trial.tokens, log_prob=trial.log_prob, reward=trial.reward)
