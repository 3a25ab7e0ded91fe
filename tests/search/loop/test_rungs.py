"""Rungs: who goes on, what that costs, and that a search with rungs stays a function of its configuration."""

import random
import shutil
from collections import deque
from pathlib import Path

import pytest
from fake_scorer import WHOLE_STEPS, FakeScorer, RungScore, healthy_score
from fake_search import RUNGS, carry_out, everything
from faulty_storage import empty_storage
from long_suite import few, few_rows

from spinesearch.results.ledger.ledger import LEDGER_NAME, read_ledger
from spinesearch.results.ledger.run import Run, ranked_trials
from spinesearch.results.ledger.trial import Trial
from spinesearch.search.runs.mirror import Mirror
from spinesearch.search.scoring.scorer import Job, enqueue
from spinesearch.search.scoring.serial_scorer import SerialScorer
from spinesearch.space import SPINENET_49

STEPS = [10, 30, WHOLE_STEPS]


def search(run_dir: Path, **options) -> tuple[Run, str]:
    options = {"scorer": FakeScorer(3, score=RungScore()), "num_trials": 40, "controller": "random"} | options
    return carry_out(run_dir, halving=RUNGS, generation_size=8, **options)


def lengths(trial: Trial) -> list[int]:
    """Of the trainings that a trial came to the end of, by it or by the one it repeats."""
    is_whole = bool(trial.metrics) and not trial.is_stopped  # what failed has no metrics
    return [part.num_steps for part in trial.rungs] + [WHOLE_STEPS] * is_whole


def test_the_best_share_of_a_generation_goes_on(tmp_path: Path):
    """Worked out by hand from the ledger: networks count once, in candidate order, the failed ones not."""
    run, _ = search(tmp_path, num_trials=80)
    for first in range(0, 80, 8):
        generation = run.trials[first : first + 8]
        assert all(lengths(trial) == STEPS[: len(lengths(trial))] for trial in generation)
        for number, share in ((0, 0.4), (1, 0.5)):
            there = {t.arch_id: t.rungs[number].metrics["ap"] for t in generation if len(t.rungs) > number}
            gone_on = {t.arch_id for t in generation if t.rung > number}
            num_kept = max(1, -(-len(there) * round(10 * share) // 10)) if there else 0
            assert gone_on == set(sorted(there, key=there.__getitem__)[::-1][:num_kept])
    assert {trial.status for trial in run.trials} == {"completed", "failed", "duplicate"}
    assert {trial.rung for trial in run.trials if trial.status == "failed"} >= {0, 1}
    assert {len(lengths(trial)) for trial in run.trials if trial.status == "completed"} == {1, 2, 3}


def test_what_is_recorded_of_those_that_stop_and_those_that_go_on(tmp_path: Path):
    run, _ = search(tmp_path, num_trials=80)
    for trial in run.trials:
        if not trial.metrics:
            assert (trial.reward, trial.is_stopped) == (0.0, False)
            continue
        length = lengths(trial)[-1]
        assert trial.reward == trial.metrics["ap"] > 0
        assert trial.metrics["num_steps"] == length
        assert trial.rung == STEPS.index(length)
        assert trial.is_stopped == (length != WHOLE_STEPS)
        if trial.is_stopped:
            assert trial.metrics == trial.rungs[-1].metrics
            assert trial.duplicate_of == trial.rungs[-1].duplicate_of
        if trial.status == "duplicate":
            assert run.trials[trial.duplicate_of].arch_id == trial.arch_id
            assert trial.duplicate_of < trial.trial
    ranked = ranked_trials(run.trials)
    assert [trial.rung for trial in ranked] == sorted((trial.rung for trial in ranked), reverse=True)
    assert len({trial.arch_id for trial in ranked}) == len(ranked)


def test_a_training_goes_on_where_it_stopped_and_leaves_no_file(tmp_path: Path):
    """Of the steps of every network nothing is taken twice while it is in training, and nothing stays."""
    score = RungScore()
    run, _ = search(tmp_path, scorer=FakeScorer(3, score=score), num_trials=8)
    ends = [0, *STEPS]
    taken = 0
    for trial in run.trials:
        own = [number for number, part in enumerate(trial.rungs) if part.duplicate_of is None]
        if trial.status != "duplicate" and not trial.is_stopped:
            own.append(len(trial.rungs))
        taken += sum(ends[number + 1] - ends[number] for number in own)
    assert sum(score.num_steps) == taken
    assert any(part.files for trial in run.trials for part in trial.rungs)
    assert not list((tmp_path / "files").iterdir())


def test_a_network_that_comes_back_may_go_further(tmp_path: Path):
    """It takes over what is known of it, and is ranked once, by its longest training."""
    run, _ = search(tmp_path, num_trials=160)
    first = {}
    further = []
    for trial in run.trials:
        earlier = first.setdefault(trial.arch_id, trial)
        if earlier is not trial and trial.status == "completed":
            further.append(trial)
            assert trial.rung > earlier.rung
            assert trial.rungs[0].duplicate_of == earlier.trial
            assert trial.rungs[0].metrics == earlier.rungs[0].metrics
    assert further, "nothing was tried"
    ranked = {trial.arch_id: trial for trial in ranked_trials(run.trials)}
    for trial in further:
        assert ranked[trial.arch_id].rung >= trial.rung


@pytest.mark.parametrize(
    ("controller", "lag"),
    few_rows([("random", 0), ("random", 1), ("random", 3), ("reinforce", 1)], ["random"]),
)
def test_the_same_search_with_any_number_of_workers(controller: str, lag: int, tmp_path: Path):
    options = {"controller": controller, "lag": lag}
    serial = search(tmp_path / "serial", scorer=SerialScorer(RungScore), **options)
    for num_workers, order in ((1, 0), (2, 1), (2, 2), (13, 3)):
        fake = FakeScorer(num_workers, order, score=RungScore())
        other = search(tmp_path / f"{num_workers}-{order}", scorer=fake, **options)
        assert everything(other) == everything(serial)


def test_lag_keeps_workers_busy_over_the_barrier(tmp_path: Path):
    class Watched(FakeScorer):
        idle = 0

        def wait(self, timeout_s: float):
            self.idle += 2 - self.num_running
            return super().wait(timeout_s)

    idle = []
    for lag in (0, 1):
        scorer = Watched(2, score=RungScore())
        search(tmp_path / str(lag), scorer=scorer, lag=lag)
        idle.append(scorer.idle)
    assert idle[1] < idle[0] / 2, idle


def test_those_who_are_far_go_first():
    queue: deque[Job] = deque()
    for trial, rung in enumerate((0, 1, 0, 2, 1)):
        enqueue(queue, Job(trial=trial, spec=SPINENET_49, seed=0, rung=rung))
    assert [job.trial for job in queue] == [3, 1, 4, 0, 2]


def test_a_lost_state_costs_time_and_changes_nothing(tmp_path: Path):
    whole = search(tmp_path / "whole")

    class Forgetful(FakeScorer):
        def submit(self, job) -> None:
            if job.state is not None:
                job.state.path.unlink(missing_ok=True)
            super().submit(job)

    score = RungScore()
    assert everything(search(tmp_path / "run", scorer=Forgetful(3, score=score))) == everything(whole)
    assert WHOLE_STEPS in score.num_steps


def test_another_machine_goes_on_from_the_mirror(tmp_path: Path):
    empty_storage()
    whole = search(tmp_path / "whole")

    class Stopping(FakeScorer):
        def wait(self, timeout_s: float):
            if len(self.submitted) > 30:
                raise KeyboardInterrupt
            return super().wait(timeout_s)

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "a", scorer=Stopping(3, score=RungScore()), mirror=Mirror("memory://b/runs", "run"))
    score = RungScore()
    other = search(tmp_path / "b", scorer=FakeScorer(3, score=score), mirror=Mirror("memory://b/runs", "run"))
    assert everything(other) == everything(whole)
    assert not list((tmp_path / "b" / "files").iterdir())


@pytest.mark.parametrize("controller", few(["random", "reinforce"], 1))
def test_a_ledger_cut_anywhere_is_continued_to_the_same_end(controller: str, tmp_path: Path):
    """Cut at random bytes, as a kill in the middle of any write would leave it, with states and without."""
    options = {"controller": controller, "num_trials": 24}
    whole = search(tmp_path / "whole", **options)
    data = (tmp_path / "whole" / LEDGER_NAME).read_bytes()
    rng = random.Random(5)
    for cut in rng.sample(range(data.index(b"\n") + 1, len(data)), 15):
        run_dir = tmp_path / str(cut)
        shutil.copytree(tmp_path / "whole", run_dir)
        (run_dir / LEDGER_NAME).write_bytes(data[:cut])
        before = read_ledger(run_dir / LEDGER_NAME).events
        scorer = FakeScorer(3, order=cut, score=RungScore())
        assert everything(search(run_dir, scorer=scorer, **options)) == everything(whole)
        assert read_ledger(run_dir / LEDGER_NAME).events[: len(before)] == before
        assert not list((run_dir / "files").iterdir())


def test_without_rungs_nothing_is_said_of_them(tmp_path: Path):
    carry_out(tmp_path, scorer=FakeScorer(score=healthy_score), num_trials=8)
    events = read_ledger(tmp_path / LEDGER_NAME).events
    assert {event["event"] for event in events} == {"run", "propose", "result", "update"}
    assert not any("is_stopped" in event for event in events)
    assert not (tmp_path / "files").exists()
