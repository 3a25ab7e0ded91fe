"""Failed candidates tried again on request: what was learnt from them stays, whatever becomes of them."""

import shutil
from pathlib import Path

import fake_study
import pytest
from fake_scorer import FakeScorer, RungScore, fake_score, healthy_score
from fake_search import RUNGS, Warnings, carry_out, proposals, updates

from spinesearch.results.ledger.run import Run, load_run
from spinesearch.search.loop.retry import failed_trials

NUM_TRIALS = 26  # the last two are of a generation that is not learnt from


def healthy() -> FakeScorer:
    return FakeScorer(score=healthy_score)


class Stopping(FakeScorer):
    """Is interrupted when it has scored so many."""

    def __init__(self, num_results: int) -> None:
        super().__init__(num_workers=1, score=healthy_score)
        self._left = num_results

    def wait(self, timeout_s: float):
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1
        return super().wait(timeout_s)


def begun(folder: Path, controller: str = "reinforce") -> Run:
    """A run in which some networks failed, and with them their duplicates."""
    run, _ = carry_out(
        folder, num_trials=NUM_TRIALS, controller=controller, scorer=FakeScorer(score=fake_score)
    )
    assert any(t.status == "failed" for t in run.trials[:24])
    return run


@pytest.mark.parametrize("controller", ["reinforce", pytest.param("evolution", marks=pytest.mark.slow)])
def test_what_was_learnt_stays_and_the_search_goes_on_as_it_would_have(tmp_path: Path, controller: str):
    before = begun(tmp_path / "run", controller)
    shutil.copytree(tmp_path / "run", tmp_path / "plain")
    failed = failed_trials(before)
    assert {t.trial for t in before.trials if t.status == "failed"} <= set(failed)
    scorer = healthy()
    run, digest = carry_out(
        tmp_path / "run", num_trials=NUM_TRIALS, controller=controller, scorer=scorer, retries=True
    )
    assert set(scorer.submitted) <= set(failed)
    assert [r.trials for r in run.reopenings] == [tuple(failed)]
    assert not failed_trials(run)
    assert all(trial.status in ("completed", "duplicate") for trial in run.trials)
    for number in failed:
        was, now = before.trials[number], run.trials[number]
        assert now.is_reopened
        assert now.reward > was.reward == 0.0
        learnt = now.learnt
        assert (learnt is None) == (was.generation >= len(before.updates))
        assert learnt is None or (learnt.status, learnt.reward) == (was.status, was.reward)
    # On, and from nothing: as if nothing had been tried again, up to what was not learnt from yet.
    warnings = Warnings()
    shutil.rmtree(tmp_path / "run" / "controller")
    longer, replayed = carry_out(
        tmp_path / "run", num_trials=NUM_TRIALS, controller=controller, scorer=healthy(), observer=warnings
    )
    assert (replayed, warnings.messages) == (digest, [])
    assert (proposals(longer), updates(longer)) == (proposals(before), updates(before))
    plain, _ = carry_out(tmp_path / "plain", num_trials=32, controller=controller, scorer=healthy())
    longer, _ = carry_out(tmp_path / "run", num_trials=32, controller=controller, scorer=healthy())
    assert [t.tokens for t in longer.trials[:28]] == [t.tokens for t in plain.trials[:28]]


@pytest.mark.parametrize(
    "num_results", [pytest.param(0, marks=pytest.mark.slow), 1, pytest.param(2, marks=pytest.mark.slow)]
)
def test_stopped_in_the_middle_it_goes_on_by_resuming(tmp_path: Path, num_results: int):
    before = begun(tmp_path)
    failed = failed_trials(before)
    with pytest.raises(KeyboardInterrupt):
        carry_out(tmp_path, num_trials=40, scorer=Stopping(num_results), retries=True)
    if num_results == 1:  # its controller from nothing, with candidates open that were learnt from
        shutil.rmtree(tmp_path / "controller")
    warnings = Warnings()
    run, _ = carry_out(tmp_path, num_trials=40, scorer=healthy(), observer=warnings)
    assert warnings.messages == []
    assert [r.trials for r in run.reopenings] == [tuple(failed)]
    assert run.num_done == 40
    assert updates(run).startswith(updates(before)[:-1])
    assert all(run.trials[number].status in ("completed", "duplicate") for number in failed)


@pytest.mark.slow
def test_what_fails_again_is_as_it_was_and_may_be_tried_again(tmp_path: Path):
    before = begun(tmp_path)
    for count in (1, 2):
        run, _ = carry_out(tmp_path, num_trials=NUM_TRIALS, scorer=FakeScorer(score=fake_score), retries=True)
        assert len(run.reopenings) == count
        assert failed_trials(run) == failed_trials(before)
    assert all(t.learnt is None or not t.learnt.is_reopened for t in run.trials)
    assert carry_out(tmp_path, num_trials=NUM_TRIALS, scorer=healthy())[0].reopenings == run.reopenings


def test_where_nothing_failed_nothing_is_recorded(tmp_path: Path):
    carry_out(tmp_path, num_trials=8, scorer=healthy())
    size = (tmp_path / "ledger.jsonl").stat().st_size
    carry_out(tmp_path, num_trials=8, scorer=healthy(), retries=True)
    assert (tmp_path / "ledger.jsonl").stat().st_size == size


@pytest.mark.slow
def test_with_rungs(tmp_path: Path):
    plan = {"halving": RUNGS, "generation_size": 8, "num_trials": 24}
    before, _ = carry_out(tmp_path, scorer=FakeScorer(score=RungScore()), **plan)
    failed = failed_trials(before)
    assert failed
    run, digest = carry_out(tmp_path, scorer=healthy_rungs(), retries=True, **plan)
    assert not failed_trials(run)
    shutil.rmtree(tmp_path / "controller")
    warnings = Warnings()
    again = carry_out(tmp_path, scorer=healthy_rungs(), observer=warnings, **plan)
    assert (updates(again[0]), again[1], warnings.messages) == (updates(before), digest, [])


def healthy_rungs() -> FakeScorer:
    class Healthy(RungScore):
        def train(self, spec, seed, request):
            try:
                return super().train(spec, seed, request)
            except ArithmeticError:
                steps = request.num_steps or 90
                files = {name: f"{spec.arch_id} {steps}".encode() for name in request.wants}
                return {"ap": 0.01, "num_steps": steps}, files

    return FakeScorer(score=Healthy())


def test_a_study_tries_its_failed_trainings_again(tmp_path: Path):
    wanted = fake_study.plan()
    before = fake_study.carry_out(tmp_path, wanted, scorer=FakeScorer(score=fake_score))
    failed = failed_trials(before)
    assert failed
    run = fake_study.carry_out(tmp_path, wanted, scorer=healthy(), retries=True)
    assert [r.trials for r in run.reopenings] == [tuple(failed)]
    assert {t.status for t in run.trials} == {"completed"}
    assert load_run(tmp_path)[0].trials == run.trials
