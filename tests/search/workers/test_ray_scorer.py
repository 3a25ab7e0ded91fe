"""The Ray engine on a real Ray."""

import functools
import importlib
import re
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest
import worker_tasks
from fake_search import carry_out
from long_suite import few
from ray_scoring import finish, recorded

from spinesearch.search.scoring.scorer import (
    BegunAttempt,
    EngineError,
    Job,
    Outcome,
)
from spinesearch.search.scoring.serial_scorer import SerialScorer
from spinesearch.search.workers import worker_pool
from spinesearch.search.workers.worker_states import PoolTimes
from spinesearch.space import SPINENET_49

pytestmark = pytest.mark.ray


@pytest.mark.parametrize("num_workers", few([2, 1], 1))
def test_workers_and_none_give_the_same_search(ray_scorer, tmp_path: Path, num_workers: int):
    serial = recorded(carry_out(tmp_path / "serial", scorer=SerialScorer(worker_tasks.open_fake)))
    scorer = ray_scorer(worker_tasks.open_fake, num_workers=num_workers)
    assert recorded(carry_out(tmp_path / "workers", scorer=scorer)) == serial


@pytest.mark.slow
def test_workers_run_at_once_and_the_rest_waits(ray_scorer):
    scorer = ray_scorer(functools.partial(worker_tasks.open_slow, 0.5))
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
def test_the_task_is_opened_once_per_worker(ray_scorer, tmp_path: Path):
    folder = tmp_path / "marks"
    folder.mkdir()
    scorer = ray_scorer(functools.partial(worker_tasks.open_counted, folder))
    run, _ = carry_out(tmp_path / "run", scorer=scorer, num_trials=24)
    openers = [path.name.split("-")[1] for path in folder.glob("open-*")]
    assert len(openers) == len(set(openers)) in (1, 2)  # the second may come too late to be needed
    scored = [path.name.split("-")[1] for path in folder.glob("score-*")]
    assert sorted(scored) == sorted({trial.arch_id for trial in run.trials})  # each network once


def test_a_candidate_that_raises_leaves_its_worker_alive(ray_scorer):
    scorer = ray_scorer(worker_tasks.open_fake, num_workers=1)
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
def test_a_task_that_cannot_be_opened_ends_the_search_with_its_reason(ray_scorer):
    scorer = ray_scorer(worker_tasks.open_nothing)
    scorer.submit(Job(trial=0, spec=SPINENET_49, seed=0))
    with pytest.raises(
        EngineError, match=r"could not open the proxy task: .*no folder /nowhere on this node"
    ):
        finish(scorer, 1)


@pytest.mark.slow
def test_more_workers_than_places_still_finish(ray_scorer):
    warnings: list[str] = []
    times = PoolTimes(patience_s=0.0)
    scorer = ray_scorer(worker_tasks.open_fake, num_workers=5, warnings=warnings, times=times)
    for trial in range(6):
        scorer.submit(Job(trial=trial, spec=SPINENET_49, seed=trial))
    assert {outcome.trial for outcome in finish(scorer, 6)} == set(range(6))
    assert "each needs 1 CPU and 0 GPU on one node, the nodes have 2 CPU and 0 GPU together" in warnings[0]


@pytest.mark.slow
def test_one_worker_that_cannot_open_the_task_is_left_out(ray_scorer, tmp_path: Path):
    warnings: list[str] = []
    scorer = ray_scorer(functools.partial(worker_tasks.open_once, tmp_path), warnings=warnings)
    for trial in range(4):
        scorer.submit(Job(trial=trial, spec=SPINENET_49, seed=trial))
    assert len(finish(scorer, 4)) == 4
    end = time.monotonic() + 30
    while not warnings:
        assert time.monotonic() < end
        scorer.wait(0.2)
    assert "could not open the proxy task" in warnings[0]
    assert "continuing without it" in warnings[0]


@pytest.mark.slow
def test_a_candidate_is_handed_out_when_its_beginning_was_reported(ray_scorer, tmp_path: Path):
    folder = tmp_path / "marks"
    folder.mkdir()
    scorer = ray_scorer(functools.partial(worker_tasks.open_counted, folder), num_workers=1)
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
def test_a_worker_with_other_code_is_refused_by_name(ray_scorer):
    warnings: list[str] = []
    scorer = ray_scorer(worker_tasks.open_fake, warnings=warnings)
    scorer._pool._code = replace(scorer._pool._code, sources="0" * 12)
    scorer.submit(Job(trial=0, spec=SPINENET_49, seed=0))
    name = re.escape(socket.gethostname())
    with pytest.raises(
        EngineError, match=rf"node {name} \([\d.]+\) is refused: its spinesearch .* other sources"
    ):
        finish(scorer, 1)
    assert len(warnings) == 1


def test_a_node_without_our_code_is_refused_by_its_address(ray_scorer, tmp_path: Path, monkeypatch):
    """What workers lack is this module, which only this process can import."""
    (tmp_path / "only_here.py").write_text("class Worker:\n    def greet(self):\n        return None\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(worker_pool, "Worker", importlib.import_module("only_here").Worker)
    warnings: list[str] = []
    scorer = ray_scorer(worker_tasks.open_fake, warnings=warnings)
    scorer.submit(Job(trial=0, spec=SPINENET_49, seed=0))
    with pytest.raises(
        EngineError, match=r"a worker on the node at \S+ is refused: .*No module named 'only_here'"
    ):
        finish(scorer, 1)
    assert len(warnings) == 1


@pytest.mark.slow
def test_null_takes_as_many_workers_as_fit(ray_scorer):
    scorer = ray_scorer(functools.partial(worker_tasks.open_slow, 0.3), num_workers=None)
    for trial in range(6):
        scorer.submit(Job(trial=trial, spec=SPINENET_49, seed=0))
    outcomes = finish(scorer, 6)
    assert len({outcome.worker for outcome in outcomes}) == 2
