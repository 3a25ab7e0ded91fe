"""The last part of a search: its best candidates, and published baselines, trained longer with new seeds.

A candidate is chosen for a high reward, so its reward is too high by what luck did: the best of many always
looks better than it is. Seeds that the search has not used say what it is worth (docs/finalists.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spinesearch.proxy_task.request import WEIGHTS, TrainingRequest
from spinesearch.results.finalists import identities, num_trainings, trainings_of
from spinesearch.results.ledger.lines import Event
from spinesearch.results.ledger.run import Run, ranked_trials
from spinesearch.results.ledger.trial import FINALISTS, Rerank, Trial
from spinesearch.search.loop.controlled import ControlledCandidates, SearchPlan
from spinesearch.search.loop.source import Step
from spinesearch.space import ArchSpec, ResNetSpec, SearchSpace
from spinesearch.space.published import published

BASELINES = ("spinenet49", "resnet50_fpn")
_WITH_WEIGHTS = TrainingRequest(wants=frozenset({WEIGHTS}))


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalistPlan:
    """What decides a re-ranking, apart from the candidates.

    Attributes:
        num_finalists: candidates, the best by reward.
        seeds: of the trainings of each; none is the search's.
        proxy_task: the settings that decide their scores, as a ledger gives them back.
        metric: what the scores are the means of.
    """

    num_finalists: int
    seeds: tuple[int, ...]
    proxy_task: Mapping[str, Any]
    metric: str = "ap"


class Finalists:
    """The trainings of a re-ranking.

    What an earlier one has trained with the same settings and seeds counts; what the infrastructure failed is
    tried again when the run is resumed.

    Args:
        plan: what decides it.
        space: of the search.
        retries: whether trainings that failed by themselves are tried again too.
    """

    def __init__(self, plan: FinalistPlan, space: SearchSpace, *, retries: bool = False) -> None:
        self.plan = plan
        self._space = space
        self._retries = retries

    def setting(self, run: Run) -> int:
        """The first re-ranking with the plan's settings: one that there is, or the next."""
        same = (r.setting for r in run.reranks if r.proxy_task == self.plan.proxy_task)
        return next(same, len(run.reranks))

    def is_done(self, run: Run) -> bool:
        """Whether the newest re-ranking is the plan's of the candidates there are, and has all results."""
        rerank = self._recorded(run)
        if rerank is None:
            return not ranked_trials(run.trials)
        return not self._missing(run, rerank) and not self._left(run, rerank)

    def num_left(self, run: Run) -> int:
        """Trainings that are left of the plan's re-ranking of the candidates there are."""
        fields = {key: value for key, value in self._event(run).items() if key != "event"}
        wanted = Rerank(
            **{**fields, "trials": tuple(fields["trials"]), "seeds": self.plan.seeds, "time": 0.0}
        )
        num_ended, num_all = num_trainings(run, wanted)
        return num_all - num_ended

    def steps(self, run: Run, warn: Callable[[str], None]) -> Iterator[Step]:
        """Choose, unless that is on record, and train what is missing."""
        if not ranked_trials(run.trials):
            warn("no candidate completed, so there are no finalists to rank again")
            return
        if self._recorded(run) is None:
            yield Step(events=[self._event(run)])
        rerank = run.reranks[-1]
        yield Step(events=self._missing(run, rerank))
        left = self._left(run, rerank)
        yield Step(trials=left, specs={t.trial: self._spec(t) for t in left}, awaited=left)

    def _event(self, run: Run) -> dict[str, Any]:
        """The choice, but for its time."""
        best = ranked_trials(run.trials)[: self.plan.num_finalists]
        return {
            "event": "rerank",
            "rerank": len(run.reranks),
            "setting": self.setting(run),
            "trials": [trial.trial for trial in best],
            "baselines": {name: _identity(published(name).arch) for name in BASELINES},
            "seeds": list(self.plan.seeds),
            "proxy_task": dict(self.plan.proxy_task),
            "metric": self.plan.metric,
        }

    def _recorded(self, run: Run) -> Rerank | None:
        """The newest re-ranking, if its choice is the one to make now."""
        if not run.reranks:
            return None
        newest, event = run.reranks[-1], self._event(run)
        is_same = (
            newest.setting == event["setting"]
            and list(newest.trials) == event["trials"]
            and list(newest.seeds) == event["seeds"]
            and newest.baselines == event["baselines"]
            and newest.metric == event["metric"]
        )
        return newest if is_same else None

    def _missing(self, run: Run, rerank: Rerank) -> list[Event]:
        """Proposals of trainings that were not proposed, or are to be tried again; seed by seed."""
        trainings = trainings_of(run, rerank)
        events: list[Event] = []
        for seed in rerank.seeds:
            for arch_id, (candidate, baseline) in identities(run, rerank).items():
                known = trainings.get((arch_id, seed))
                if known and not (known.is_masked or (self._retries and known.status == "failed")):
                    continue
                events.append(
                    {
                        "event": "propose",
                        "side": FINALISTS,
                        "trial": len(run.finalists) + len(events),
                        "setting": rerank.setting,
                        "seed": seed,
                        "tokens": list(candidate.tokens) if candidate else [],
                        "arch_id": arch_id,
                        "baseline": "" if candidate else baseline,
                    }
                )
        return events

    def _left(self, run: Run, rerank: Rerank) -> list[Trial]:
        """The proposed trainings without a result."""
        trainings = trainings_of(run, rerank)
        keys = [(arch_id, seed) for seed in rerank.seeds for arch_id in identities(run, rerank)]
        return [trainings[key] for key in keys if key in trainings and not trainings[key].is_done]

    def _spec(self, trial: Trial) -> ArchSpec | ResNetSpec:
        return published(trial.baseline).arch if trial.baseline else self._space.decode(trial.tokens)


class SearchWithFinalists:
    """A search that ends with its finalists: a `CandidateSource`.

    Args:
        search: the search's own candidates.
        finalists: what follows.
        searches: False to rank again what there is, without going on with the search.
    """

    def __init__(self, search: ControlledCandidates, finalists: Finalists, *, searches: bool = True) -> None:
        self._search = search
        self._finalists = finalists
        self._searches = searches

    @property
    def plan(self) -> SearchPlan:
        """The search's."""
        return self._search.plan

    def first_side(self, run: Run) -> str:
        """The finalists' once all candidates have their results."""
        is_searched = run.num_done == self.plan.num_trials
        return self._search.first_side(run) if self._searches and not is_searched else FINALISTS

    def request(self, trial: Trial) -> TrainingRequest:
        """Of finalists the trained weights are kept."""
        return _WITH_WEIGHTS if trial.side == FINALISTS else self._search.request(trial)

    def check_results(self, trials: Sequence[Trial]) -> None:
        """As the search does."""
        self._search.check_results(trials)

    def steps(self, run: Run, warn: Callable[[str], None]) -> Iterator[Step]:
        """The search's, then the finalists'."""
        if self._searches:
            yield from self._search.steps(run, warn)
        yield from self._finalists.steps(run, warn)


def _identity(arch: ArchSpec | ResNetSpec) -> str:
    return arch.arch_id if isinstance(arch, ArchSpec) else arch.name
