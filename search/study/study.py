"""A study's candidates: the same architectures, each with every seed. No Ray and no hydra in here.

There is nothing to learn on the way, so all trainings are proposed at once, and resuming a study is: propose
what the ledger does not have yet, and train what has no result yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spinesearch.controller.protocol import candidate_rng
from spinesearch.proxy_task.request import TrainingRequest
from spinesearch.results.ledger.lines import Event
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import Trial
from spinesearch.results.reasons import common_reasons
from spinesearch.results.studies.study import SIDES, Kind
from spinesearch.search.loop.retry import retry_step
from spinesearch.search.loop.rungs import NO_RUNGS, Halving
from spinesearch.search.loop.source import Step
from spinesearch.search.scoring.reward import metric_value
from spinesearch.search.scoring.scorer import EngineError
from spinesearch.search.scoring.trial_files import TrialFiles, kept_reader
from spinesearch.space import SearchSpace

_HOPELESS = 5  # trainings that fail, none that completes
_MAX_DRAWS_PER_ARCH = 200  # until a space is taken to have no further architectures

Arch = tuple[tuple[int, ...], str]
"""Tokens and arch_id of an architecture."""

Known = Mapping[tuple[str, str, int], tuple[Trial, Path]]
"""Completed trials of other runs, by side, arch_id and seed, and the folder of the run they come from."""


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
        wants: the files that are kept of every training, see `spinesearch.proxy_task.request`.
        soft_cost: none, as a study asks how well metrics repeat.
    """

    kind: Kind
    num_archs: int
    num_seeds: int
    seed: int
    reward_metric: str
    failed_reward: float
    wants: frozenset[str] = frozenset()
    soft_cost: None = None

    @property
    def halving(self) -> Halving:
        """None: every training is whole."""
        return NO_RUNGS

    @property
    def num_trials(self) -> int:
        """Trainings in all."""
        return self.num_archs * self.num_seeds * len(SIDES[self.kind])

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
            f"{len(found)}; request that many"
        )
    return [(tokens, arch_id) for arch_id, tokens in found.items()]


class StudyCandidates:
    """The trainings of a study: a `CandidateSource` for one run of the loop.

    Args:
        plan: see `StudyPlan`; at least what the ledger holds.
        archs: the plan's, see `sample_architectures`.
        known: results of other runs to take over.
        run_dir: where the files of these are copied to.
        retries: whether what has failed is tried again first.
    """

    def __init__(
        self,
        plan: StudyPlan,
        archs: Sequence[Arch],
        known: Known | None = None,
        *,
        run_dir: Path,
        retries: bool = False,
    ) -> None:
        self.plan = plan
        self._archs = archs
        self._known = known or {}
        self._run_dir = run_dir
        self._retries = retries
        self._ended: list[Trial] = []  # of the side that is being trained, in this process

    def first_side(self, run: Run) -> str:
        """The first side that has trainings left, or else the last."""
        *others, last = SIDES[self.plan.kind]
        num_wanted = self.plan.num_archs * self.plan.num_seeds
        for side in others:
            if sum(trial.is_done for trial in run.trials if trial.side == side) < num_wanted:
                return side
        return last

    def steps(self, run: Run, warn: Callable[[str], None]) -> Iterator[Step]:
        """Propose everything, take over what is known, train the rest, side by side."""
        if self._retries:
            yield retry_step(run)
        yield Step(events=self._missing_proposals(run))
        yield Step(events=self._known_results(run, warn))
        for side in SIDES[self.plan.kind]:
            left = [trial for trial in run.trials if trial.side == side and not trial.is_done]
            self._ended = []
            yield Step(trials=left, awaited=left)

    def request(self, trial: Trial) -> TrainingRequest:
        """All are trained whole."""
        return TrainingRequest(wants=self.plan.wants)

    def check_results(self, trials: Sequence[Trial]) -> None:
        """Stop early where a setting lets no candidate live: there is nothing to learn from the rest."""
        self._ended += trials
        ended = self._ended
        if len(ended) < _HOPELESS or any(trial.status != "failed" for trial in ended):
            return
        reasons = "; ".join(f"{len(group)} x {reason}" for reason, group in common_reasons(ended)[:3])
        of_side = f" of side {ended[0].side}" if ended[0].side else ""
        raise EngineError(
            f"the first {len(ended)} trainings{of_side} all failed: {reasons}. Fix the cause, then resume to "
            "train the others, or start another study if a setting is the cause"
        )

    def _missing_proposals(self, run: Run) -> list[Event]:
        """Proposals of every training that the run has not proposed, side by side, seed by seed."""
        proposed = {(trial.side, trial.seed, trial.arch_id) for trial in run.trials}
        wanted = [
            {"side": side, "seed": seed, "tokens": list(tokens), "arch_id": arch_id}
            for side in SIDES[self.plan.kind]
            for seed in self.plan.seeds(side)
            for tokens, arch_id in self._archs
            if (side, seed, arch_id) not in proposed
        ]
        return [
            {"event": "propose", "trial": number, **fields}
            for number, fields in enumerate(wanted, start=len(run.trials))
        ]

    def _known_results(self, run: Run, warn: Callable[[str], None]) -> list[Event]:
        """Results of trials that another run has completed under the same conditions.

        Its reward may have been another metric; without a value of this study's a training is not taken over.
        """
        events: list[Event] = []
        written = TrialFiles(self._run_dir, warn)
        for trial in run.trials:
            assert trial.seed is not None
            found = self._known.get((trial.side, trial.arch_id, trial.seed))
            if trial.is_done or found is None:
                continue
            other, other_dir = found
            value = metric_value(other.metrics, self.plan.reward_metric)
            if value is None:
                continue
            found_files = {name: kept_reader(other_dir, name)(other) for name in self.plan.wants}
            files = {name: content for name, content in found_files.items() if content is not None}
            events.append(
                {
                    "event": "result",
                    "trial": trial.trial,
                    "status": "completed",
                    "reward": value,
                    "metrics": dict(other.metrics),
                    "seconds": other.seconds,
                    "worker": other.worker,
                    "reused_from": other_dir.name,
                    **({"files": written.write(trial.trial, files)} if files else {}),
                }
            )
        return events
