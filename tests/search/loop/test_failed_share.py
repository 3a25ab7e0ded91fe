"""A search whose candidates mostly fail: it stops before it learns from them, and tries them once more."""

from pathlib import Path

import pytest
from fake_scorer import FakeScorer, healthy_score
from fake_search import carry_out, everything

from spinesearch.results.ledger.ledger import LEDGER_NAME, read_ledger
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import Trial
from spinesearch.results.tables import status_line
from spinesearch.search.loop.failed_share import FailedShare, TooManyFailedError
from spinesearch.search.scoring.scorer import EngineError, Outcome


def trained(*reasons: str | None, status: str = "completed", size: int = 8, first: int = 0) -> list[Trial]:
    """Trials of these reasons to fail, or of that status; each another network."""
    return [
        Trial(
            trial=i,
            tokens=(0,),
            arch_id=f"{i}",
            generation=i // size,
            reason=reason or "",
            status="failed" if reason else status,
        )
        for i, reason in enumerate(reasons, start=first)
    ]


def check(trials: list[Trial], share: float = 0.3, size: int = 8, accepted: frozenset[int] = frozenset()):
    rule = FailedShare(generation_size=size, max_share=share)
    rule.check(Run(trials=trials), trials[-1].generation, accepted)


def test_the_message_has_the_three_commonest_reasons():
    trials = trained("nan at step 1", "nan at step 22", "no memory", "a", "a", "a", "b", None)
    with pytest.raises(TooManyFailedError) as stop:
        check(trials)
    text = str(stop.value)
    assert text.startswith(
        "7 of the last 8 candidates failed (3 x a; 2 x nan at step 1; 1 x no memory), 88% where "
        "search.max_failed_share allows 30%. Fix the cause, then resume: "
    )
    assert "\n" not in text
    assert isinstance(stop.value, EngineError)
    assert (EngineError.exit_code, TooManyFailedError.exit_code) == (1, 3)


def test_what_may_fail():
    check(trained("a", "a", None, None, size=4))  # two failures prove nothing
    check(trained("a", "a", "a", *[None] * 7, size=10), size=10)  # 30 % is allowed
    check(trained("a", "a", "a"), share=1.0)
    with pytest.raises(TooManyFailedError, match="3 of the last 9 "):
        check(trained("a", "a", "a", *[None] * 6, size=9), size=9)
    duplicates = trained(*[None] * 9, status="duplicate", size=13, first=4)
    with pytest.raises(TooManyFailedError, match="3 of the last 4 "):  # they were not trained
        check([*trained("a", "a", "a", None, size=13), *duplicates], size=13)
    check(duplicates, share=0.0)


def test_small_generations_are_counted_with_those_before():
    for size in (1, 2):
        check(trained(None, "a", "a", None, size=size))
        with pytest.raises(TooManyFailedError, match="3 of the last 6 "):
            check(trained(None, None, None, "a", "a", "a", size=size), size=size)
        # Of nine, the first is out of sight.
        check(trained("a", *[None] * 6, "a", "a", size=size), size=size)
        # Those before were learnt from: they stop nothing alone.
        check(trained("a", "a", "a", "a", None, None, size=size), size=size)
    with pytest.raises(TooManyFailedError, match="3 of the last 8 "):
        check(trained(*[None] * 5, "a", "a", "a", size=1), size=1)


def test_accepted_failures_do_not_count():
    trials = trained("a", "a", "a", None, size=4)
    check(trials, size=4, accepted=frozenset({0}))
    with pytest.raises(TooManyFailedError):
        check(trials, size=4, accepted=frozenset({3}))


class Failing(FakeScorer):
    """Everything fails from a trial on, and nothing else."""

    def __init__(self, first: int) -> None:
        super().__init__(num_workers=3, score=healthy_score)
        self._first = first

    def wait(self, timeout_s: float) -> list[Outcome]:
        return [
            Outcome(trial=o.trial, metrics=None, reason="no space left") if o.trial >= self._first else o
            for o in super().wait(timeout_s)
        ]


def healthy() -> FakeScorer:
    return FakeScorer(score=healthy_score)


def load(run_dir: Path) -> Run:
    return Run.from_events(run_dir, read_ledger(run_dir / LEDGER_NAME).events)


@pytest.mark.parametrize(("size", "first"), [(1, 8), (4, 16)])
def test_once_the_cause_is_fixed_the_search_is_as_if_nothing_had_failed(
    tmp_path: Path, size: int, first: int
):
    expected = everything(
        carry_out(tmp_path / "whole", generation_size=size, num_trials=first + 8, scorer=healthy())
    )
    run_dir = tmp_path / "run"
    stopped = {"generation_size": size, "max_failed_share": 0.3, "num_trials": first + 8}
    with pytest.raises(TooManyFailedError, match=r"of the last \d candidates failed \(.* x no space left"):
        carry_out(run_dir, scorer=Failing(first), **stopped)
    before = load(run_dir)
    completed = {t.trial for t in before.trials if t.status == "completed"}
    bad = [t.trial for t in before.trials if t.reason == "no space left"]
    unlearnt = [number for number in bad if number >= size * len(before.updates)]
    assert unlearnt
    scorer = healthy()
    run, digest = carry_out(run_dir, scorer=scorer, **stopped)
    (reopening,) = run.reopenings
    assert set(unlearnt) <= set(reopening.trials)
    assert "no space left" in reopening.reason
    assert not completed & set(scorer.submitted)
    assert run.num_done == first + 8
    if unlearnt == bad:  # generations of 1 learn from the first two failures, which prove nothing
        assert everything((run, digest)) == expected
    else:
        assert size < 4
        assert len(bad) - len(unlearnt) <= 2


def test_what_fails_once_more_stops_again_and_then_stands(tmp_path: Path):
    def go_on() -> Run:
        return carry_out(tmp_path, scorer=Failing(16), max_failed_share=0.3, num_trials=24)[0]

    with pytest.raises(TooManyFailedError, match="resume: the failed ones not learnt from yet are tried"):
        go_on()
    assert len(load(tmp_path).updates) == 4
    with pytest.raises(TooManyFailedError, match="They were tried once more already: resumed, the search le"):
        go_on()
    run = load(tmp_path)
    assert len(run.updates) == 4
    assert all(trial.is_reopened for trial in run.trials[16:20] if trial.status == "failed")
    # Those that stand as failed are learnt from; what follows fails for the first time or stands, too.
    for _ in range(3):
        try:
            run = go_on()
        except TooManyFailedError:
            continue
    assert (run.num_done, len(run.updates)) == (24, 6)
    events = read_ledger(tmp_path / LEDGER_NAME).events
    tried = [event["trial"] for event in events if event["event"] == "result" and event["status"] == "failed"]
    assert max(tried.count(number) for number in tried) == 2


@pytest.mark.parametrize("size", [1, 2])
def test_of_small_generations_every_failure_is_tried_once_more(tmp_path: Path, size: int):
    """However often the search is resumed while the cause is there; the first alone prove nothing."""
    for _ in range(6):
        with pytest.raises(TooManyFailedError):
            carry_out(tmp_path, generation_size=size, scorer=Failing(0), max_failed_share=0.3, num_trials=24)
    run = load(tmp_path)
    learnt = run.trials[: len(run.updates) * size]
    at_once = [t.trial for t in learnt if t.status == "failed" and not t.is_reopened]
    assert at_once == [0, 1]  # fewer than three failures prove nothing
    assert len(run.updates) * size > 3


def test_a_driver_that_dies_before_it_looks_skips_no_check(tmp_path: Path, monkeypatch):
    """All of a generation's failures are on record, the update is not: they are tried once more."""

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    run_dir = tmp_path / "run"
    carry_out(run_dir, num_trials=16, max_failed_share=0.3, scorer=healthy())
    monkeypatch.setattr(FailedShare, "check", die)
    with pytest.raises(KeyboardInterrupt):
        carry_out(run_dir, scorer=Failing(16), max_failed_share=0.3, num_trials=24)
    monkeypatch.undo()
    assert len(load(run_dir).updates) == 4
    run, digest = carry_out(run_dir, max_failed_share=0.3, num_trials=24, scorer=healthy())
    assert run.reopenings
    whole = carry_out(tmp_path / "whole", num_trials=24, scorer=healthy())
    assert everything((run, digest)) == everything(whole)


def test_a_last_generation_too_short_to_learn_from_is_checked(tmp_path: Path):
    with pytest.raises(TooManyFailedError, match="3 x no space left"):
        carry_out(tmp_path, scorer=Failing(20), max_failed_share=0.3, num_trials=23)
    run, _ = carry_out(tmp_path, max_failed_share=0.3, num_trials=23, scorer=healthy())
    assert run.num_done == 23
    assert [reopening.trials for reopening in run.reopenings] == [(20, 21, 22)]
    assert not any(trial.reason == "no space left" for trial in run.trials)


def test_an_update_that_was_recorded_is_not_checked_again(tmp_path: Path):
    """As earlier releases left it: they stopped after they had learnt."""
    carry_out(tmp_path, scorer=Failing(16), max_failed_share=1.0, num_trials=20)
    run, _ = carry_out(tmp_path, max_failed_share=0.3, num_trials=24)
    assert run.num_done == 24
    assert not run.reopenings


def test_what_an_earlier_release_learnt_from_does_not_hide_what_fails_now(tmp_path: Path):
    carry_out(tmp_path, generation_size=2, scorer=Failing(0), max_failed_share=1.0, num_trials=6)
    stopped = {"generation_size": 2, "max_failed_share": 0.3, "num_trials": 16}
    with pytest.raises(TooManyFailedError, match="the failed ones not learnt from yet are tried once more"):
        carry_out(tmp_path, scorer=Failing(0), **stopped)
    unlearnt = load(tmp_path).trials[2 * len(load(tmp_path).updates) :]
    run, _ = carry_out(tmp_path, scorer=healthy(), **stopped)
    assert {t.trial for t in unlearnt if t.status == "failed"} <= set(run.reopenings[0].trials)
    assert not any(run.trials[t.trial].status == "failed" for t in unlearnt)
    assert run.num_done == 16


def test_reopening_what_did_not_fail_is_an_error():
    run = Run(sessions=[{"event": "run"}], trials=trained(None, "a"))
    with pytest.raises(ValueError, match="trial 0 is reopened, which has not failed"):
        run.apply({"event": "reopen", "trials": [1, 0], "reason": "", "time": 0.0})
    assert run.trials[1].status == "failed"
    with pytest.raises(ValueError, match="trial 9 is reopened, which was not proposed"):
        run.apply({"event": "reopen", "trials": [9], "reason": "", "time": 0.0})


def test_show_counts_what_was_tried_once_more():
    from spinesearch.search.config.run_config import compose, run_config

    config = run_config(compose([])).to_dict()
    run = Run(sessions=[{"event": "run", "config": config}], trials=trained(None, "a", "a"))
    assert "3 of 64 candidates done (1 completed, 2 failed), 0 updates" in status_line(run)
    run.apply({"event": "reopen", "trials": [1, 2], "reason": "", "time": 0.0})
    assert "1 of 64 candidates done (1 completed), 2 tried once more, 0 updates" in status_line(run)
    result = {"event": "result", "trial": 1, "status": "failed", "reason": "gone", "time": 0.0}
    run.apply({**result, "reward": None, "failed_by": "infrastructure"})
    assert "(1 completed, 1 failed; 1 of the failed lost with their workers and not learnt from)" in (
        status_line(run)
    )
