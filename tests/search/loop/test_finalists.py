"""The best of a search are trained again, with new seeds, into the same ledger."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import fake_search
import pytest
from fake_scorer import FakeScorer, Scoring, healthy_score, scored
from fake_search import Warnings, carry_out, everything
from fake_space import SPACE
from long_suite import few

from spinesearch.proxy_task.request import WEIGHTS
from spinesearch.results.finalists import final_ranking, finished_rerank, num_trainings, standings
from spinesearch.results.ledger.files import file_path
from spinesearch.results.ledger.ledger import LEDGER_NAME, read_ledger
from spinesearch.results.ledger.run import Run, load_run, ranked_trials
from spinesearch.results.ledger.trial import FINALISTS
from spinesearch.search.loop.finalists import FinalistPlan, Finalists
from spinesearch.search.loop.observer import SearchObserver
from spinesearch.search.loop.retry import failed_finalists
from spinesearch.search.scoring.scorer import Job, LostAttempt, ScorerEvent, lost_outcome
from spinesearch.space import ArchSpec, ResNetSpec

PLAN = FinalistPlan(num_finalists=3, seeds=(1, 2), proxy_task={"num_steps": 300})


def fake(
    score: Callable[[ArchSpec | ResNetSpec, int], dict[str, float]] = scored, **kwargs: int
) -> FakeScorer:
    return FakeScorer(score=Scoring(score), **kwargs)


def ranked(run_dir: Path, **changed: object) -> Run:
    """Begin or continue a run whose best are ranked again."""
    arguments = {"num_trials": 12, "finalists": PLAN, "scorer": fake(), **changed}
    return carry_out(run_dir, **arguments)[0]  # type: ignore[arg-type]


def trainings(run: Run) -> list[tuple[object, ...]]:
    """All that a re-ranking says, in order of numbers; results arrive in any order."""
    return [
        (t.trial, t.setting, t.seed, t.arch_id, t.baseline, t.status, t.reward, t.reason)
        for t in run.finalists
    ]


def test_the_best_and_both_baselines_are_trained_with_every_seed(tmp_path: Path):
    scorer = fake()
    run = ranked(tmp_path, scorer=scorer)
    (rerank,) = run.reranks
    best = ranked_trials(run.trials)[:3]
    assert rerank.trials == tuple(trial.trial for trial in best)
    assert dict(rerank.baselines)["resnet50_fpn"] == "resnet50_fpn"
    names = [*(t.arch_id for t in best), *rerank.baselines.values()]
    assert [(t.seed, t.arch_id) for t in run.finalists] == [(s, name) for s in (1, 2) for name in names]
    assert {t.side for t in run.finalists} == {FINALISTS}
    assert all(t.status == "completed" for t in run.finalists)
    assert num_trainings(run, rerank) == (10, 10)
    for trial in run.finalists:
        if not trial.baseline:
            assert trial.reward == healthy_score(SPACE.decode(trial.tokens), trial.seed)["ap"]
        kept = file_path(tmp_path, trial.trial, WEIGHTS, side=FINALISTS)
        assert kept.read_bytes() == str(trial.seed).encode()
        assert set(trial.files) == {WEIGHTS}
    # By the new scores, whatever the reward was; the others follow by reward.
    order = final_ranking(run)
    means = [sum(t.reward for t in run.finalists if t.arch_id == c.arch_id) / 2 for c in order[:3]]
    assert means == sorted(means, reverse=True)
    assert {t.trial for t in order[:3]} == set(rerank.trials)
    assert order[3:] == ranked_trials(run.trials)[3:]


def test_the_search_before_is_what_it_is_without_finalists(tmp_path: Path):
    with_them = carry_out(tmp_path / "with", num_trials=12, finalists=PLAN, scorer=fake())
    assert everything(with_them) == everything(carry_out(tmp_path / "without", num_trials=12, scorer=fake()))


def test_a_run_that_is_extended_goes_on_and_is_ranked_again_with_what_is_new(tmp_path: Path):
    run = ranked(tmp_path / "run")
    assert ranked(tmp_path / "run").reranks == run.reranks  # complete: nothing is done again
    scorer = fake()
    grown = ranked(tmp_path / "run", num_trials=40, scorer=scorer)
    whole = ranked(tmp_path / "whole", num_trials=40)
    assert [t.tokens for t in grown.trials] == [t.tokens for t in whole.trials]
    assert [t.trial for t in grown.trials] == list(range(40))
    assert len(grown.reranks) == 2
    assert grown.reranks[1].trials == whole.reranks[0].trials
    assert grown.reranks[1].setting == 0
    news = set(grown.reranks[1].trials) - set(grown.reranks[0].trials)
    assert news  # else this tests nothing
    assert len(grown.finalists) == 10 + 2 * len(news)  # what was trained is taken over
    assert [(r.candidate and r.candidate.trial, r.score) for r in standings(grown, grown.reranks[1])] == [
        (r.candidate and r.candidate.trial, r.score) for r in standings(whole, whole.reranks[0])
    ]


def test_more_seeds_add_to_what_there_is_and_other_settings_begin_anew(tmp_path: Path):
    ranked(tmp_path)
    more = FinalistPlan(num_finalists=3, seeds=(1, 2, 3), proxy_task=PLAN.proxy_task)
    run = ranked(tmp_path, finalists=more, searches=False)
    assert len(run.finalists) == 15
    other = FinalistPlan(num_finalists=1, seeds=(1,), proxy_task={"num_steps": 900})
    run = ranked(tmp_path, finalists=other, searches=False)
    assert [rerank.setting for rerank in run.reranks] == [0, 0, 2]
    assert len(run.finalists) == 18
    assert finished_rerank(run) is run.reranks[2]
    # And back: all of it is there.
    run = ranked(tmp_path, finalists=PLAN, searches=False)
    assert len(run.finalists) == 18
    assert run.reranks[3].setting == 0
    assert finished_rerank(run) is run.reranks[3]


def test_only_the_best_so_far_of_a_search_that_is_not_complete(tmp_path: Path):
    """The search is not continued; later it is, as if nothing had been."""
    carry_out(tmp_path / "run", num_trials=12, scorer=fake())
    run = ranked(tmp_path / "run", num_trials=40, searches=False)
    assert len(run.trials) == 12
    assert len(run.finalists) == 10
    whole = carry_out(tmp_path / "whole", num_trials=40, scorer=fake())
    grown = carry_out(tmp_path / "run", num_trials=40, scorer=fake())
    assert everything(grown) == everything(whole)


def test_without_a_candidate_there_are_no_finalists(tmp_path: Path):
    def failing(spec: ArchSpec | ResNetSpec, seed: int) -> dict[str, float]:
        raise ArithmeticError("no")

    warnings = Warnings()
    run = ranked(tmp_path, scorer=fake(failing), observer=warnings)
    assert warnings.messages == ["no candidate completed, so there are no finalists to rank again"]
    assert (run.reranks, run.finalists) == ([], [])
    assert Finalists(PLAN, SPACE).is_done(run)


def test_a_finalist_that_fails_is_ranked_after_the_others(tmp_path: Path):
    def diverging(spec: ArchSpec | ResNetSpec, seed: int) -> dict[str, float]:
        if seed == 2 and isinstance(spec, ArchSpec) and spec.arch_id == best.arch_id:
            raise ArithmeticError("it diverged")
        return scored(spec, seed)

    best = ranked_trials(carry_out(tmp_path / "a", num_trials=12, scorer=fake())[0].trials)[0]
    run = ranked(tmp_path / "b", scorer=fake(diverging))
    rows = standings(run, run.reranks[0])
    assert rows[-1].candidate.trial == best.trial
    assert rows[-1].score is None
    assert [t.reason for t in rows[-1].failed] == ["ArithmeticError: it diverged"]
    assert Finalists(PLAN, SPACE).is_done(run)  # its own failure: it would fail again
    assert final_ranking(run)[2].trial == best.trial  # first of those that have no score


def test_a_finalist_that_failed_is_trained_again_on_request(tmp_path: Path):
    def diverging(spec: ArchSpec | ResNetSpec, seed: int) -> dict[str, float]:
        if seed == 2 and isinstance(spec, ResNetSpec):
            raise ArithmeticError("it diverged")
        return scored(spec, seed)

    run = ranked(tmp_path / "a", scorer=fake(diverging))
    (failed,) = failed_finalists(run)
    assert (failed.baseline, failed.seed) == ("resnet50_fpn", 2)
    assert len(ranked(tmp_path / "a").finalists) == 10, "to resume tries nothing again"
    again = ranked(tmp_path / "a", scorer=fake(diverging), retries=True)
    assert [t.reason for t in failed_finalists(again)] == ["ArithmeticError: it diverged"]
    mended = ranked(tmp_path / "a", retries=True)
    assert [t.arch_id for t in mended.finalists[10:]] == ["resnet50_fpn"] * 2
    assert not failed_finalists(mended)
    assert len(ranked(tmp_path / "a", retries=True).finalists) == 12
    whole = ranked(tmp_path / "b")
    scores = [[row.score for row in standings(r, r.reranks[0])] for r in (mended, whole)]
    assert scores[0] == scores[1]


class LosingScorer(FakeScorer):
    """Loses every worker on one finalist, as long as it is told to."""

    def __init__(self, lost: int | None) -> None:
        super().__init__(score=Scoring())
        self._lost = lost
        self._events: list[ScorerEvent] = []

    def submit(self, job: Job) -> None:
        if job.seed != 0 and job.trial == self._lost:
            lost = {"reason": "its node was lost", "node": "n", "worker": "w", "seconds": 1.0}
            self._events.append(LostAttempt(trial=job.trial, attempt=1, **lost))  # type: ignore[arg-type]
            self._events.append(lost_outcome(job.again("its node was lost", "n")))
        else:
            super().submit(job)

    def wait(self, timeout_s: float) -> list[ScorerEvent]:
        events, self._events = self._events, []
        return [*events, *super().wait(timeout_s)]


def test_what_the_infrastructure_failed_is_tried_again_when_the_run_is_resumed(tmp_path: Path):
    run = ranked(tmp_path / "lossy", scorer=LosingScorer(4))
    assert run.finalists[4].is_masked
    assert run.finalists[4].lost[0].node == "n"
    assert not Finalists(PLAN, SPACE).is_done(run)
    assert not run.begun
    run = ranked(tmp_path / "lossy")
    assert len(run.finalists) == 11
    assert Finalists(PLAN, SPACE).is_done(run)
    whole = ranked(tmp_path / "whole")
    scores = [[row.score for row in standings(r, r.reranks[0])] for r in (run, whole)]
    assert scores[0] == scores[1]


class Killed(SearchObserver):
    """Ends the process, without a chance to do anything, after some events."""

    def __init__(self, num_events: int) -> None:
        self._left = num_events

    def recorded(self, event: object, run: Run) -> None:
        self._left -= 1
        if self._left < 0:
            os._exit(9)


def killed_run(run_dir: Path, num_events: int, order: int, num_trials: int) -> bool:
    """Carry a run on in another process that is killed after some events; whether it was."""
    child = os.fork()
    if child == 0:
        scorer = fake(num_workers=3, order=order)
        ranked(run_dir, num_trials=num_trials, scorer=scorer, observer=Killed(num_events))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run_dir = tmp_path_factory.mktemp("undisturbed")
    ranked(run_dir)
    return ranked(run_dir, num_trials=24)


@pytest.mark.parametrize("number", few(range(20), 3))
def test_killed_anywhere_and_extended_the_ranking_is_that_of_an_undisturbed_run(
    tmp_path: Path, undisturbed: Run, number: int
):
    rng = random.Random(number)
    num_killed = 0
    for num_trials in (12, 24):
        while killed_run(tmp_path, rng.randint(0, 25), rng.randint(0, 99), num_trials):
            num_killed += 1
    assert num_killed >= 2
    run, _ = load_run(tmp_path)
    assert trainings(run) == trainings(undisturbed)
    assert [(r.trials, r.seeds, r.setting) for r in run.reranks] == [
        (r.trials, r.seeds, r.setting) for r in undisturbed.reranks
    ]
    assert fake_search.results(run) == fake_search.results(undisturbed)
    results = [e for e in read_ledger(tmp_path / LEDGER_NAME).events if e["event"] == "result"]
    assert len(results) == len(run.trials) + len(run.finalists)


def test_a_baseline_that_the_search_has_found_is_trained_once(tmp_path: Path):
    plan = FinalistPlan(num_finalists=44, seeds=(1,), proxy_task={})
    run = carry_out(tmp_path, num_trials=200, controller="random", finalists=plan, scorer=fake())[0]
    (rerank,) = run.reranks
    found = [t for t in run.trials if t.arch_id == rerank.baselines["spinenet49"]]
    assert found  # 44 networks, 200 draws
    assert sum(t.arch_id == found[0].arch_id for t in run.finalists) == 1
    row = next(r for r in standings(run, rerank) if r.baseline == "spinenet49")
    assert row.candidate.arch_id == found[0].arch_id


@pytest.mark.parametrize("event", ["propose", "result"])
def test_a_ledger_whose_finalists_do_not_count_up_is_refused(tmp_path: Path, event: str):
    run = ranked(tmp_path)
    bad = {
        "propose": {"seed": 1, "tokens": [], "arch_id": "x"},
        "result": {"status": "failed", "reward": 0.0},
    }
    with pytest.raises(ValueError, match=r"trial 10 should be|which was not proposed"):
        run.apply({"event": event, "side": FINALISTS, "trial": 77, "time": 0.0, **bad[event]})
