"""Workers that die, freeze, grow or never begin, on a real Ray."""

import functools
import socket
import time
from collections import Counter
from pathlib import Path

import pytest
import ray
import worker_tasks
from fake_search import carry_out
from long_suite import few
from ray_scoring import finish, recorded, wait_until_dead

from spinesearch.search.scoring.scorer import (
    EngineError,
    Job,
    LostAttempt,
    Outcome,
)
from spinesearch.search.scoring.serial_scorer import SerialScorer
from spinesearch.search.workers.trial_timeout import TrialTimeout
from spinesearch.search.workers.worker_states import PoolTimes
from spinesearch.space import SPINENET_49

pytestmark = pytest.mark.ray


@pytest.mark.parametrize("open_broken", few([worker_tasks.open_fragile, worker_tasks.open_lost], 1))
def test_a_worker_that_dies_in_the_middle_of_a_candidate(ray_scorer, tmp_path: Path, open_broken):
    """Killed, or ended as its device is lost: the candidate is run again, as if nothing had happened."""
    undisturbed = recorded(
        carry_out(tmp_path / "whole", scorer=SerialScorer(worker_tasks.open_fake), num_trials=16)
    )
    folder = tmp_path / "marks"
    folder.mkdir()
    warnings: list[str] = []
    scorer = ray_scorer(functools.partial(open_broken, folder, 2), warnings=warnings)
    outcome = carry_out(tmp_path / "run", scorer=scorer, num_trials=16)
    assert recorded(outcome) == undisturbed
    assert len(warnings) == 2
    assert all("its worker was lost" in warning and "attempt " in warning for warning in warnings)
    assert sum(trial.attempts - 1 for trial in outcome[0].trials if trial.attempts) == 2


@pytest.mark.slow
@pytest.mark.faults
def test_a_candidate_that_kills_every_worker_fails_in_the_end(ray_scorer, tmp_path: Path):
    scorer = ray_scorer(worker_tasks.open_deadly, max_attempts=2)
    run, _ = carry_out(tmp_path, scorer=scorer, num_trials=16, controller="random")
    deadly = [t for t in run.trials if int(t.arch_id, 16) % 5 == 0 and t.status == "failed"]
    assert deadly
    for trial in deadly:
        assert trial.reason.startswith("its worker was lost 2 times, the last: ActorDiedError: ")
        assert trial.attempts == 2
        assert (trial.failed_by, trial.reward) == ("infrastructure", None)
    assert run.num_done == 16


@pytest.mark.slow
@pytest.mark.faults
def test_workers_that_died_idle_cost_a_candidate_nothing(ray_scorer, tmp_path: Path):
    """As when a node is lost between two generations: the candidate never began, so no attempt is counted."""
    scorer = ray_scorer(worker_tasks.open_fake, max_attempts=1)
    for trial in range(2):  # both workers are up
        scorer.submit(Job(trial=trial, spec=SPINENET_49, seed=trial))
    outcomes = finish(scorer, 2)
    end = time.monotonic() + 30
    while scorer._pool.references:
        assert time.monotonic() < end
        scorer.wait(0.2)
    for worker in scorer._pool.workers:
        ray.kill(worker.actor)
        wait_until_dead(worker.actor, end)
    for trial in range(2, 5):
        scorer.submit(Job(trial=trial, spec=SPINENET_49, seed=trial))
    outcomes = finish(scorer, 3)
    assert [outcome.attempts for outcome in outcomes] == [1, 1, 1]
    assert not any("died" in outcome.reason for outcome in outcomes)


@pytest.mark.faults
@pytest.mark.slow  # it starts a worker after the other
def test_a_worker_is_replaced_after_its_share_and_when_it_has_grown(ray_scorer, tmp_path: Path):
    whole = recorded(
        carry_out(tmp_path / "whole", scorer=SerialScorer(worker_tasks.open_fake), num_trials=12)
    )
    options = (({"trials_per_worker": 5}, 5), ({"worker_memory_gb": 0.001}, 1))
    for number, (option, most) in enumerate(options):
        scorer = ray_scorer(worker_tasks.open_fake, num_workers=1, **option)
        run, digest = carry_out(tmp_path / str(number), scorer=scorer, num_trials=12)
        assert recorded((run, digest)) == whole
        by_worker = Counter(trial.worker for trial in run.trials if trial.worker)
        assert len(by_worker) > 1
        assert max(by_worker.values()) <= most
        assert not any(trial.lost for trial in run.trials)
        scorer.close()


@pytest.mark.slow
@pytest.mark.faults
def test_a_frozen_worker_is_ended_and_its_candidate_run_again(ray_scorer, tmp_path: Path):
    """Twice frozen in the first candidates; the kernel, not Python, holds the process."""
    warnings: list[str] = []
    scorer = ray_scorer(
        functools.partial(worker_tasks.open_frozen, tmp_path, 2), warnings=warnings, timeout=TrialTimeout(2.0)
    )
    for trial in range(4):
        scorer.submit(Job(trial=trial, spec=SPINENET_49, seed=trial))
    ended = []
    end = time.monotonic() + 120
    while sum(isinstance(one, Outcome) for one in ended) < 4:
        assert time.monotonic() < end
        ended += scorer.wait(0.2)
    lost = [one for one in ended if isinstance(one, LostAttempt)]
    assert len(lost) == len(warnings) == 2
    assert all(one.reason == "timed out after 2 s" and one.seconds >= 2 for one in lost)
    assert all(one.worker.startswith(socket.gethostname()) and "/" in one.node for one in lost)
    attempts = {one.trial: one.attempts for one in ended if isinstance(one, Outcome)}
    assert sum(attempts.values()) == 6


@pytest.mark.slow
@pytest.mark.faults
def test_a_candidate_that_trains_slowly_is_not_taken_to_hang(ray_scorer):
    """Its worker says how long a step takes; one that says nothing within the first limit is ended."""
    for pace, num_lost in (({"steps": 7, "step_s": 0.1}, 0), ({"steps": 0, "step_s": 0.0}, 1)):
        timeout = TrialTimeout(None, num_steps=100, first_s=2.0)
        open_score = functools.partial(worker_tasks.open_stepped, seconds=3.0, **pace)
        scorer = ray_scorer(open_score, num_workers=1, max_attempts=1, timeout=timeout)
        scorer.submit(Job(trial=4, spec=SPINENET_49, seed=1))
        [outcome] = finish(scorer, 1)
        assert ("timed out after 2 s" in outcome.reason) == num_lost
        assert (outcome.metrics is None) == num_lost
        scorer.close()


def test_a_candidate_whose_attempts_were_all_lost_before_fails_at_once(ray_scorer):
    scorer = ray_scorer(worker_tasks.open_fake, max_attempts=2)
    scorer.submit(Job(trial=3, spec=SPINENET_49, seed=0, attempt=3, last_reason="timed out after 9 s"))
    [outcome] = scorer.wait(10)
    assert outcome.reason == "its worker was lost 2 times, the last: timed out after 9 s"
    assert (outcome.trial, outcome.metrics, outcome.attempts) == (3, None, 2)
    assert outcome.is_lost


@pytest.mark.faults
@pytest.mark.slow  # it starts a worker after the other
def test_workers_that_cannot_live_end_the_search(ray_scorer):
    warnings: list[str] = []
    scorer = ray_scorer(
        worker_tasks.open_dead, num_workers=1, warnings=warnings, times=PoolTimes(backoff_s=0.01)
    )
    scorer.submit(Job(trial=0, spec=SPINENET_49, seed=0))
    with pytest.raises(EngineError, match="no worker became ready, 5 times in a row"):
        finish(scorer, 1, timeout_s=200)
    assert len(warnings) == 5
