"""The Ray engine on a real Ray."""

import functools
import importlib
import re
import socket
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import ray
import worker_tasks
from fake_search import carry_out
from long_suite import few
from ray.exceptions import RayActorError

from spinesearch.search.scoring.scorer import (
    BegunAttempt,
    EngineError,
    Job,
    LostAttempt,
    Outcome,
)
from spinesearch.search.scoring.serial_scorer import SerialScorer
from spinesearch.search.workers import worker_pool
from spinesearch.search.workers.ray_scorer import RayScorer
from spinesearch.search.workers.trial_resources import TrialResources
from spinesearch.search.workers.trial_timeout import TrialTimeout
from spinesearch.search.workers.worker_states import PoolTimes
from spinesearch.space import SPINENET_49

pytestmark = pytest.mark.ray


@pytest.fixture
def build(cluster):
    scorers = []

    def build(open_score, num_workers=2, max_attempts=3, warnings=None, **options):
        scorer = RayScorer(
            open_score,
            num_workers=num_workers,
            resources=TrialResources(cpus=1),
            max_attempts=max_attempts,
            warn=(warnings if warnings is not None else []).append,
            **options,
        )
        scorers.append(scorer)
        return scorer

    yield build
    for scorer in scorers:
        scorer.close()


def finish(scorer: RayScorer, count: int, timeout_s: float = 120):
    """Outcomes; attempts that were lost are left out."""
    outcomes = []
    end = time.monotonic() + timeout_s
    while len(outcomes) < count:
        assert time.monotonic() < end
        outcomes += [ended for ended in scorer.wait(0.2) if isinstance(ended, Outcome)]
    return outcomes


def wait_until_dead(actor, end: float) -> None:
    """A kill takes a moment to arrive."""
    while time.monotonic() < end:
        try:
            ray.get(actor.ping.remote())
        except RayActorError:
            return
    raise AssertionError("the worker is still alive")


def recorded(outcome):
    """What must not depend on the engine."""
    run, digest = outcome
    trials = [
        (t.trial, t.tokens, t.log_probs, t.arch_id, t.status, t.reward, dict(t.metrics), t.reason)
        for t in run.trials
    ]
    return trials, [(u.update, dict(u.stats), u.digest) for u in run.updates], digest


def test_one_worker_two_workers_and_none_give_the_same_search(build, tmp_path: Path):
    serial = recorded(carry_out(tmp_path / "serial", scorer=SerialScorer(worker_tasks.open_fake)))
    for num_workers in (1, 2):
        scorer = build(worker_tasks.open_fake, num_workers=num_workers)
        assert recorded(carry_out(tmp_path / str(num_workers), scorer=scorer)) == serial
        scorer.close()


@pytest.mark.slow
def test_workers_run_at_once_and_the_rest_waits(build):
    scorer = build(functools.partial(worker_tasks.open_slow, 0.5))
    for trial in range(5):
        scorer.submit(Job(trial=trial, spec=SPINENET_49, seed=0))
    seen = set()
    outcomes = []
    while len(outcomes) < 5:
        outcomes += [event for event in scorer.wait(0.1) if isinstance(event, Outcome)]
        seen.add(scorer.num_running)
    assert max(seen) == 2
    assert len({outcome.worker for outcome in outcomes}) == 2
    assert all(outcome.worker.startswith(socket.gethostname()) for outcome in outcomes)


@pytest.mark.slow
def test_the_task_is_opened_once_per_worker(build, tmp_path: Path):
    folder = tmp_path / "marks"
    folder.mkdir()
    scorer = build(functools.partial(worker_tasks.open_counted, folder))
    run, _ = carry_out(tmp_path / "run", scorer=scorer, num_trials=24)
    openers = [path.name.split("-")[1] for path in folder.glob("open-*")]
    assert len(openers) == len(set(openers)) in (1, 2)  # the second may come too late to be needed
    scored = [path.name.split("-")[1] for path in folder.glob("score-*")]
    assert sorted(scored) == sorted({trial.arch_id for trial in run.trials})  # each network once


@pytest.mark.parametrize("open_broken", few([worker_tasks.open_fragile, worker_tasks.open_lost], 1))
def test_a_worker_that_dies_in_the_middle_of_a_candidate(build, tmp_path: Path, open_broken):
    """Killed, or ended as its device is lost: the candidate is run again, as if nothing had happened."""
    undisturbed = recorded(
        carry_out(tmp_path / "whole", scorer=SerialScorer(worker_tasks.open_fake), num_trials=16)
    )
    folder = tmp_path / "marks"
    folder.mkdir()
    warnings: list[str] = []
    scorer = build(functools.partial(open_broken, folder, 2), warnings=warnings)
    outcome = carry_out(tmp_path / "run", scorer=scorer, num_trials=16)
    assert recorded(outcome) == undisturbed
    assert len(warnings) == 2
    assert all("its worker was lost" in warning and "attempt " in warning for warning in warnings)
    assert sum(trial.attempts - 1 for trial in outcome[0].trials if trial.attempts) == 2


@pytest.mark.slow
@pytest.mark.faults
def test_a_candidate_that_kills_every_worker_fails_in_the_end(build, tmp_path: Path):
    scorer = build(worker_tasks.open_deadly, max_attempts=2)
    run, _ = carry_out(tmp_path, scorer=scorer, num_trials=16, controller="random")
    deadly = [t for t in run.trials if int(t.arch_id, 16) % 5 == 0 and t.status == "failed"]
    assert deadly
    for trial in deadly:
        assert trial.reason.startswith("its worker was lost 2 times, the last: ActorDiedError: ")
        assert trial.attempts == 2
        assert (trial.failed_by, trial.reward) == ("infrastructure", None)
    assert run.num_done == 16


def test_a_candidate_that_raises_leaves_its_worker_alive(build):
    scorer = build(worker_tasks.open_fake, num_workers=1)
    names = set()
    reasons = []
    for trial, seed in enumerate(range(40)):
        scorer.submit(Job(trial=trial, spec=SPINENET_49, seed=seed))
    for outcome in finish(scorer, 40):
        names.add(outcome.worker)
        reasons.append(outcome.reason)
    assert len(names) == 1
    assert any(reason.startswith("ArithmeticError: the loss of ") for reason in reasons)
    assert "" in reasons


@pytest.mark.slow
def test_a_task_that_cannot_be_opened_ends_the_search_with_its_reason(build):
    scorer = build(worker_tasks.open_nothing)
    scorer.submit(Job(trial=0, spec=SPINENET_49, seed=0))
    with pytest.raises(
        EngineError, match=r"could not open the proxy task: .*no folder /nowhere on this node"
    ):
        finish(scorer, 1)


@pytest.mark.slow
def test_more_workers_than_places_still_finish(build):
    warnings: list[str] = []
    times = PoolTimes(patience_s=0.0)
    scorer = build(worker_tasks.open_fake, num_workers=5, warnings=warnings, times=times)
    for trial in range(6):
        scorer.submit(Job(trial=trial, spec=SPINENET_49, seed=trial))
    assert {outcome.trial for outcome in finish(scorer, 6)} == set(range(6))
    assert "each needs 1 CPU and 0 GPU on one node, the nodes have 2 CPU and 0 GPU together" in warnings[0]


@pytest.mark.slow
@pytest.mark.faults
def test_workers_that_died_idle_cost_a_candidate_nothing(build, tmp_path: Path):
    """As when a node is lost between two generations: the candidate never began, so no attempt is counted."""
    scorer = build(worker_tasks.open_fake, max_attempts=1)
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


@pytest.mark.slow
def test_one_worker_that_cannot_open_the_task_is_left_out(build, tmp_path: Path):
    warnings: list[str] = []
    scorer = build(functools.partial(worker_tasks.open_once, tmp_path), warnings=warnings)
    for trial in range(4):
        scorer.submit(Job(trial=trial, spec=SPINENET_49, seed=trial))
    assert len(finish(scorer, 4)) == 4
    end = time.monotonic() + 30
    while not warnings:
        assert time.monotonic() < end
        scorer.wait(0.2)
    assert "could not open the proxy task" in warnings[0]
    assert "continuing without it" in warnings[0]


@pytest.mark.faults
@pytest.mark.slow  # it starts a worker after the other
def test_a_worker_is_replaced_after_its_share_and_when_it_has_grown(build, tmp_path: Path):
    whole = recorded(
        carry_out(tmp_path / "whole", scorer=SerialScorer(worker_tasks.open_fake), num_trials=12)
    )
    options = (({"trials_per_worker": 5}, 5), ({"worker_memory_gb": 0.001}, 1))
    for number, (option, most) in enumerate(options):
        scorer = build(worker_tasks.open_fake, num_workers=1, **option)
        run, digest = carry_out(tmp_path / str(number), scorer=scorer, num_trials=12)
        assert recorded((run, digest)) == whole
        by_worker = Counter(trial.worker for trial in run.trials if trial.worker)
        assert len(by_worker) > 1
        assert max(by_worker.values()) <= most
        assert not any(trial.lost for trial in run.trials)
        scorer.close()


@pytest.mark.slow
@pytest.mark.faults
def test_a_frozen_worker_is_ended_and_its_candidate_run_again(build, tmp_path: Path):
    """Twice frozen in the first candidates; the kernel, not Python, holds the process."""
    warnings: list[str] = []
    scorer = build(
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
def test_a_candidate_that_trains_slowly_is_not_taken_to_hang(build):
    """Its worker says how long a step takes; one that says nothing within the first limit is ended."""
    for pace, num_lost in (({"steps": 7, "step_s": 0.1}, 0), ({"steps": 0, "step_s": 0.0}, 1)):
        timeout = TrialTimeout(None, num_steps=100, first_s=2.0)
        open_score = functools.partial(worker_tasks.open_stepped, seconds=3.0, **pace)
        scorer = build(open_score, num_workers=1, max_attempts=1, timeout=timeout)
        scorer.submit(Job(trial=4, spec=SPINENET_49, seed=1))
        [outcome] = finish(scorer, 1)
        assert ("timed out after 2 s" in outcome.reason) == num_lost
        assert (outcome.metrics is None) == num_lost
        scorer.close()


@pytest.mark.slow
def test_a_candidate_is_handed_out_when_its_beginning_was_reported(build, tmp_path: Path):
    folder = tmp_path / "marks"
    folder.mkdir()
    scorer = build(functools.partial(worker_tasks.open_counted, folder), num_workers=1)
    scorer.submit(Job(trial=3, spec=SPINENET_49, seed=1, attempt=2))
    events: list[object] = []
    while not events:
        events += scorer.wait(10)
    [begun] = events
    assert isinstance(begun, BegunAttempt)
    assert (begun.trial, begun.attempt, scorer.num_running) == (3, 2, 1)
    time.sleep(0.5)
    assert not list(folder.glob("score-*"))  # it might take the machine down before that is on record
    [outcome] = finish(scorer, 1)
    assert (begun.node, begun.worker) == (outcome.node, outcome.worker)


@pytest.mark.slow
def test_a_worker_with_other_code_is_refused_by_name(build):
    warnings: list[str] = []
    scorer = build(worker_tasks.open_fake, warnings=warnings)
    scorer._pool._code = replace(scorer._pool._code, sources="0" * 12)
    scorer.submit(Job(trial=0, spec=SPINENET_49, seed=0))
    name = re.escape(socket.gethostname())
    with pytest.raises(
        EngineError, match=rf"node {name} \([\d.]+\) is refused: its spinesearch .* other sources"
    ):
        finish(scorer, 1)
    assert len(warnings) == 1


def test_a_node_without_our_code_is_refused_by_its_address(build, tmp_path: Path, monkeypatch):
    """What workers lack is this module, which only this process can import."""
    (tmp_path / "only_here.py").write_text("class Worker:\n    def greet(self):\n        return None\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(worker_pool, "Worker", importlib.import_module("only_here").Worker)
    warnings: list[str] = []
    scorer = build(worker_tasks.open_fake, warnings=warnings)
    scorer.submit(Job(trial=0, spec=SPINENET_49, seed=0))
    with pytest.raises(
        EngineError, match=r"a worker on the node at \S+ is refused: .*No module named 'only_here'"
    ):
        finish(scorer, 1)
    assert len(warnings) == 1


def test_a_candidate_whose_attempts_were_all_lost_before_fails_at_once(build):
    scorer = build(worker_tasks.open_fake, max_attempts=2)
    scorer.submit(Job(trial=3, spec=SPINENET_49, seed=0, attempt=3, last_reason="timed out after 9 s"))
    [outcome] = scorer.wait(10)
    assert outcome.reason == "its worker was lost 2 times, the last: timed out after 9 s"
    assert (outcome.trial, outcome.metrics, outcome.attempts) == (3, None, 2)
    assert outcome.is_lost


@pytest.mark.faults
@pytest.mark.slow  # it starts a worker after the other
def test_workers_that_cannot_live_end_the_search(build):
    warnings: list[str] = []
    scorer = build(worker_tasks.open_dead, num_workers=1, warnings=warnings, times=PoolTimes(backoff_s=0.01))
    scorer.submit(Job(trial=0, spec=SPINENET_49, seed=0))
    with pytest.raises(EngineError, match="no worker became ready, 5 times in a row"):
        finish(scorer, 1, timeout_s=200)
    assert len(warnings) == 5


@pytest.mark.slow
def test_null_takes_as_many_workers_as_fit(build):
    scorer = build(functools.partial(worker_tasks.open_slow, 0.3), num_workers=None)
    for trial in range(6):
        scorer.submit(Job(trial=trial, spec=SPINENET_49, seed=0))
    outcomes = finish(scorer, 6)
    assert len({outcome.worker for outcome in outcomes}) == 2
