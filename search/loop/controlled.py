"""A search's candidates: the generations of a controller, and what it learns from them.

Candidates come in generations of fixed size. Generation g is sampled by the policy as updated through
generation g - 1 - lag, and an update takes its generation's results in candidate order, whenever they
arrived. So what is proposed and learnt is a function of configuration and seed: one worker or a hundred,
interrupted or not. A resumed search goes through the same steps from the newest checkpoint, or from nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from spinesearch.controller import Controller
from spinesearch.proxy_task.request import WHOLE, TrainingRequest
from spinesearch.results.ledger.lines import Event
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import Latency, Trial
from spinesearch.search.loop.checkpoint import Checkpoints, state_digest
from spinesearch.search.loop.exchange import proposal, rollout
from spinesearch.search.loop.failed_share import FailedShare
from spinesearch.search.loop.retry import retry_step
from spinesearch.search.loop.rungs import NO_RUNGS, Halving
from spinesearch.search.loop.source import Step
from spinesearch.search.scoring.constraints import Limits, too_slow
from spinesearch.search.scoring.reward import SoftCost
from spinesearch.space import ArchSpec, SearchSpace

# The warning about a generation most of whose candidates have this status.
_UNTRAINED = {
    "duplicate": "repeat networks that were scored before: the strategy has settled, and more of this search "
    "brings little (docs/controllers.md)",
    "infeasible": "are over a limit of the search and not trained; allow more, or begin anew with narrower "
    "networks or another strategy (docs/controllers.md)",
}


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
        halving: how generations are thinned out at rungs; not at all as it comes.
        max_failed_share: of the candidates last trained; when more fail, the search stops, see `FailedShare`.
        wants: the files that are kept of every training, see `spinesearch.proxy_task.request`.
        soft_cost: by what a candidate's cost lowers its reward; None for not at all.
        max_latency_ms: a network that takes more for an image, measured just before it is trained, is not
            trained; None to measure nothing.
        learns: whether the controller does, so that a search can be too short for it.
    """

    seed: int
    num_trials: int
    generation_size: int
    lag: int
    reward_metric: str
    failed_reward: float
    halving: Halving = NO_RUNGS
    max_failed_share: float = 1.0
    wants: frozenset[str] = frozenset()
    soft_cost: SoftCost | None = None
    max_latency_ms: float | None = None
    learns: bool = True

    @property
    def num_unlearnt(self) -> int:
        """Candidates that are proposed before anything is learnt."""
        return (self.lag + 1) * self.generation_size

    @property
    def failed_share(self) -> FailedShare:
        """The rule by which the search stops."""
        return FailedShare(generation_size=self.generation_size, max_share=self.max_failed_share)


@dataclass(frozen=True, kw_only=True, slots=True)
class Beginning:
    """A candidate that a search begins with, whatever its controller would propose.

    Attributes:
        tokens: its choices.
        result: what another run has found, as fields of a ``result`` event; None to score it.
    """

    tokens: tuple[int, ...]
    result: Mapping[str, Any] | None = None


class ControlledCandidates:
    """The candidates that a controller proposes: a `CandidateSource` for one run of the loop.

    A generation that ``num_trials`` cuts short is not learnt from; it is filled up if the run is continued
    with more.

    Args:
        plan: see `SearchPlan`.
        space: turns choices into specs.
        controller: in its initial state.
        checkpoints: the controller's states.
        beginnings: the first candidates.
        limits: what a network may cost; one that costs more is not scored.
        retries: whether what has failed is tried again first.
    """

    def __init__(
        self,
        plan: SearchPlan,
        space: SearchSpace,
        controller: Controller,
        checkpoints: Checkpoints,
        beginnings: Sequence[Beginning] = (),
        limits: Limits | None = None,
        *,
        retries: bool = False,
    ) -> None:
        self.plan = plan
        self._space = space
        self._controller = controller
        self._checkpoints = checkpoints
        self._beginnings = beginnings
        self._limits = limits
        self._latencies: Mapping[str, Latency] = {}  # of the run, by arch_id
        self._retries = retries
        self._num_updates = 0  # updates the controller has seen
        self._accepted: frozenset[int] = frozenset()  # failed trials that stop nothing
        self._said: set[str] = set()  # statuses that most of a generation had: said once each
        self._has_parted = False  # from the ledger: said once

    def first_side(self, run: Run) -> str:
        """A search has no sides."""
        return ""

    def request(self, trial: Trial) -> TrainingRequest:
        """That of its next rung; what is kept of every training is kept of whole ones.

        Before the first its latency is measured, unless that is on record.
        """
        request = self.plan.halving.request(trial)
        request = TrainingRequest(wants=self.plan.wants) if request == WHOLE else request
        if trial.rungs or trial.arch_id in self._latencies:
            return request
        return replace(request, max_latency_ms=self.plan.max_latency_ms)

    def check_results(self, trials: Sequence[Trial]) -> None:
        """Nothing: results are checked when they are learnt from."""

    def steps(self, run: Run, warn: Callable[[str], None]) -> Iterator[Step]:
        """Propose, wait and learn, generation by generation."""
        plan = self.plan
        self._latencies = run.latencies
        if self._retries:
            yield retry_step(run)
        reopened, reason = plan.failed_share.to_reopen(run)
        if reopened:
            yield Step(events=[{"event": "reopen", "trials": reopened, "reason": reason}])
        self._accepted = plan.failed_share.accepted(run)
        # Up to the update that learns from the last whole generation, which stands before generation `last`.
        # Those from `num_trials` on are sampled but not proposed, so that the controller is where a longer
        # run has it.
        last = plan.num_trials // plan.generation_size + plan.lag
        if plan.num_trials <= plan.num_unlearnt and plan.learns:
            warn(
                f"search.num_trials: the first {plan.num_unlearnt} candidates, (lag + 1) x generation_size, "
                f"are proposed before anything is learnt, and there are only {plan.num_trials}; give "
                f"search.num_trials={4 * plan.num_unlearnt}, or a smaller search.generation_size"
            )
        yield Step(events=self._known_results(run.trials))
        first = self._restore(run)
        yield Step(trials=run.trials[: first * plan.generation_size])
        for generation in range(first, last + 1):
            if generation > plan.lag:
                yield from self._learn(generation - 1 - plan.lag, run, warn)
            yield from self._propose(generation, run, warn)
        yield from self._finish(run)

    def _restore(self, run: Run) -> int:
        """Load the newest useful state of the controller; the generation to continue with."""
        plan = self.plan
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
        return update + 1 + plan.lag

    def _propose(self, generation: int, run: Run, warn: Callable[[str], None]) -> Iterator[Step]:
        """Sample a generation, record what the ledger does not have yet, and hand it out."""
        plan = self.plan
        first = generation * plan.generation_size
        events: list[Event] = []
        specs: dict[int, ArchSpec] = {}
        # Always a whole generation: the last bits of a batch depend on its size.
        given = self._beginnings[first : first + plan.generation_size]
        suggestions = self._controller.suggest(plan.generation_size, given=[b.tokens for b in given])
        for number, suggestion in enumerate(suggestions, start=first):
            if number < len(run.trials):
                if run.trials[number].tokens != suggestion.tokens:
                    self._part(f"trial {number}", warn)
                continue
            if number < plan.num_trials:
                spec = specs[number] = self._space.decode(suggestion.tokens)
                known = spec.arch_id in run.latencies
                if not known and self._limits and (latency := self._limits.latency(spec)):
                    events.append({"event": "latency", "arch_id": spec.arch_id, **latency._asdict()})
                events.append(proposal(number, generation, suggestion, spec))
        yield Step(events=events)
        end = min(first + plan.generation_size, plan.num_trials)
        yield Step(events=self._known_results(run.trials[first:end]))
        yield Step(trials=run.trials[first:end], specs=specs)

    def _known_results(self, trials: Sequence[Trial]) -> list[Event]:
        """Results of trials that need no scoring: what costs too much, and what the search begins with."""
        events: list[Event] = []
        for trial in trials:
            if trial.is_done:
                continue
            begun = self._beginnings[trial.trial : trial.trial + 1]
            if reason := self._excess(trial):
                fields = {"status": "infeasible", "reward": None, "reason": reason}
            elif begun and begun[0].result is not None:
                fields = dict(begun[0].result)
            else:
                continue
            events.append({"event": "result", "trial": trial.trial, **fields})
        return events

    def _excess(self, trial: Trial) -> str:
        """By what a trial is over a limit, as far as is known before it is trained; else empty."""
        measured, most = self._latencies.get(trial.arch_id), self.plan.max_latency_ms
        if measured and most is not None and measured.ms > most:
            return too_slow(*measured, most)
        return self._limits.excess(self._space.decode(trial.tokens)) if self._limits else ""

    def _learn(self, generation: int, run: Run, warn: Callable[[str], None]) -> Iterator[Step]:
        """Wait for a generation's results and let the controller learn from them, unless it has."""
        if generation < self._num_updates:
            return
        first = generation * self.plan.generation_size
        trials = run.trials[first : first + self.plan.generation_size]
        yield Step(awaited=[trial for trial in trials if trial.learnt is None])
        is_new = generation == len(run.updates)
        if is_new:
            self.plan.failed_share.check(run, generation, self._accepted)
            if self.plan.max_latency_ms is not None:
                self.plan.failed_share.check_latencies(run, generation, self.plan.max_latency_ms)
            self._check_trained(generation, trials, warn)
        stats = self._controller.update([rollout(trial) for trial in trials])
        self._num_updates = generation + 1
        state = self._controller.state_dict()
        digest = state_digest(state)
        if is_new:
            finite = {name: value if math.isfinite(value) else None for name, value in stats.items()}
            if None in finite.values():
                names = ", ".join(name for name, value in finite.items() if value is None)
                warn(f"update {generation}: not a finite number, recorded as null: {names}")
            yield Step(events=[{"event": "update", "update": generation, "stats": finite, "digest": digest}])
        elif digest != run.updates[generation].digest:
            self._part(f"update {generation}", warn)
        try:
            self._checkpoints.save(generation, state)
        except OSError as error:
            warn(f"the controller's state was not saved, resuming will replay it: {error}")

    def _check_trained(self, generation: int, trials: list[Trial], warn: Callable[[str], None]) -> None:
        """Say once for each reason that most of what the controller proposed was not trained for it."""
        proposed = [trial for trial in trials if trial.trial >= len(self._beginnings)]
        for status, what in _UNTRAINED.items():
            count = sum(trial.status == status for trial in proposed)
            if 2 * count > len(proposed) and status not in self._said:
                self._said.add(status)
                warn(f"update {generation}: {count} of {len(proposed)} candidates {what}")

    def _part(self, where: str, warn: Callable[[str], None]) -> None:
        """Say once that the controller is no longer the one on record."""
        if not self._has_parted:
            warn(
                f"{where}: from here on this machine or release has another controller than the ledger "
                "records; candidates on record are kept, and new ones come from this one"
            )
        self._has_parted = True

    def _finish(self, run: Run) -> Iterator[Step]:
        """Wait for all results, also those of a last generation that is too short to learn from."""
        yield Step(awaited=run.trials)
        self.plan.failed_share.check(run, self.plan.num_trials // self.plan.generation_size, self._accepted)
