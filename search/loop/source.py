"""Where a run's candidates come from: `CandidateSource`, which gives the loop its steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from spinesearch.proxy_task.request import TrainingRequest
from spinesearch.results.ledger.lines import Event
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import Trial
from spinesearch.search.loop.rungs import Halving
from spinesearch.search.scoring.reward import SoftCost
from spinesearch.space import ArchSpec, ResNetSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What the loop does next, in this order.

    Attributes:
        events: to be recorded, without times.
        trials: proposed already; those without a result are scored, all on one side of a study.
        specs: architectures of these trials, by number, as far as they are decoded already.
        awaited: trials whose results must be in before the next step.
    """

    events: Sequence[Event] = ()
    trials: Sequence[Trial] = ()
    specs: Mapping[int, ArchSpec | ResNetSpec] = field(default_factory=dict)
    awaited: Sequence[Trial] = ()


class Plan(Protocol):
    """What the loop needs to know of what a run is to do."""

    @property
    def num_trials(self) -> int:
        """Trials of the whole run."""

    @property
    def seed(self) -> int:
        """Of the training of every trial that has no seed of its own."""

    @property
    def reward_metric(self) -> str:
        """The metric that is the reward; without a finite value of it, a candidate has failed."""

    @property
    def halving(self) -> Halving:
        """How generations are thinned out at rungs."""

    @property
    def failed_reward(self) -> float:
        """The reward of a failed candidate."""

    @property
    def soft_cost(self) -> SoftCost | None:
        """By what a candidate's cost lowers its reward; None for not at all."""


class CandidateSource(Protocol):
    """Proposes candidates, and learns from their results if it is one that learns.

    It neither writes nor scores: the loop does. What it proposes follows from its arguments and from the
    results in candidate order, never from the order in which they arrive.
    """

    @property
    def plan(self) -> Plan:
        """What decides the run's course."""

    def first_side(self, run: Run) -> str:
        """The side of the first trial to be scored; empty if the run has no sides."""

    def steps(self, run: Run, warn: Callable[[str], None]) -> Iterator[Step]:
        """The steps from wherever ``run`` stands to its end.

        Code after a ``yield`` runs when that step is carried out: its events are in ``run`` then, and so are
        the results that it awaited.

        Args:
            run: what the ledger holds; kept up to date by the loop.
            warn: receives, in one line, what people should know of.

        Raises:
            EngineError: the run cannot continue.
        """

    def request(self, trial: Trial) -> TrainingRequest:
        """How far a trial is trained next, and which files are wanted of it."""

    def check_results(self, trials: Sequence[Trial]) -> None:
        """Look at trials whose results have just come in.

        Raises:
            EngineError: the rest need not be tried.
        """
