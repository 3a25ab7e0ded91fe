"""How long a candidate may take, without a Ray."""

from spinesearch.results.ledger.trial import Trial
from spinesearch.search.workers.pace import PaceMeter
from spinesearch.search.workers.trial_timeout import LEAST_COMPLETED, PatientClock, TrialTimeout


def test_until_it_is_known_what_is_usual_the_first_limit_holds():
    timeout = TrialTimeout(None, floor_s=60)
    for _ in range(LEAST_COMPLETED - 1):
        timeout.completed(30, {})
        assert timeout.limit_s() == 1800
    timeout.completed(30, {})
    assert timeout.limit_s() == 300  # ten times the median
    for _ in range(200):
        timeout.completed(1, {})
    assert timeout.limit_s() == 60  # the cluster has become faster; the floor holds
    assert TrialTimeout(7.5, num_steps=10**6).limit_s(step_s=100) == 7.5


def test_a_limit_follows_the_number_of_steps():
    """What is usual is a time per step and one besides: a longer training is not taken to hang."""
    long, longer = (TrialTimeout(None, num_steps=num_steps) for num_steps in (1000, 100_000))
    for timeout in (long, longer):
        for _ in range(LEAST_COMPLETED):
            timeout.completed(70, {"num_steps": 100, "train_seconds": 50.0})
    assert long.limit_s() == 10 * (20 + 1000 * 0.5)
    assert longer.limit_s() == 10 * (20 + 100_000 * 0.5)


def test_the_first_limit_is_what_measured_steps_predict_if_that_is_more():
    timeout = TrialTimeout(None, num_steps=40_000)
    assert timeout.limit_s() == 1800
    assert timeout.limit_s(step_s=0.001) == 1800
    assert timeout.limit_s(step_s=0.5) == 10 * 40_000 * 0.5


def test_a_slow_machine_has_a_limit_by_its_own_pace():
    timeout = TrialTimeout(None, num_steps=1000)
    for _ in range(LEAST_COMPLETED):
        timeout.completed(100, {"num_steps": 1000, "train_seconds": 100.0})
    assert timeout.limit_s() == 1000
    assert timeout.limit_s(step_s=0.05) == 1000
    assert timeout.limit_s(step_s=2.0) == 20_000


def completed(trial: int, seconds: float, **fields: object) -> Trial:
    done = {"status": "completed", "reward": 0.0, "seconds": seconds, "time": float(trial)}
    return Trial(trial=trial, tokens=(0,), arch_id="a", **done | fields)


def test_a_resumed_run_knows_how_long_its_candidates_took():
    trials = [completed(i, 60.0) for i in range(LEAST_COMPLETED)]
    assert TrialTimeout(None, known=trials).limit_s() == 600
    assert TrialTimeout(None, known=trials[1:]).limit_s() == 1800
    for others in (  # which say nothing of how long a training takes here
        [completed(i, 0.0, status="duplicate") for i in range(9)],
        [completed(i, 9.0, status="failed") for i in range(9)],
        [completed(i, 1e6, reused_from="another") for i in range(9)],
        [completed(9, 0.0, status="proposed")],
    ):
        assert TrialTimeout(None, known=[*others, *trials]).limit_s() == 600
    # Of many the newest count, whatever their numbers.
    newest = [completed(i, 90.0, time=1000.0 + i) for i in range(101)]
    assert TrialTimeout(None, known=[*newest, *trials]).limit_s() == 900


def test_a_training_is_measured_after_its_first_steps_and_anew_if_it_starts_over():
    now = 0.0
    published: list[float] = []
    meter = PaceMeter(published.append, clock=lambda: now)
    for step, at in [(0, 100.0), (1, 200.0), (2, 300.0), *((i, 301.0 + i) for i in range(9))]:
        now = at
        meter(step)
    assert published == [1.0]  # the first steps' 100 s are left out


def test_the_time_in_which_the_driver_was_frozen_does_not_count():
    now = 1000.0
    clock = PatientClock(lambda: now)
    assert clock() == 0
    now += 30
    assert clock() == 30
    now += 7200  # stopped for two hours
    assert clock() == 90
    now += 1
    assert clock() == 91
