"""A study's trainings: each once, whoever scores them and however often it is killed."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import fake_study
import pytest
from fake_scorer import FakeScorer, fake_score
from fake_space import SPACE
from fake_study import carry_out, plan
from forked_work import Forks, check_kills
from long_suite import few

from spinesearch.controller.random import RandomController
from spinesearch.proxy_task.request import DETECTIONS
from spinesearch.results.ledger.ledger import LEDGER_NAME, read_ledger
from spinesearch.results.ledger.run import Run
from spinesearch.results.studies.study import SIDES
from spinesearch.search.scoring.scorer import EngineError, Job, run_job
from spinesearch.search.scoring.serial_scorer import SerialScorer
from spinesearch.search.scoring.trial_files import TrialFiles, kept_reader
from spinesearch.search.study.study import sample_architectures
from spinesearch.space import ArchSpec

KINDS = ("variance", "correlate")


def everything(run: Run) -> str:
    """What a study has found, in the order of its trials."""
    return json.dumps(
        [
            (t.trial, t.side, t.seed, t.tokens, t.arch_id, t.status, t.reward, dict(t.metrics), t.reason)
            for t in run.trials
        ]
    )


def by_training(run: Run) -> dict[object, object]:
    return {(t.side, t.seed, t.arch_id): (t.status, t.reward, t.metrics) for t in run.trials}


@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_with_every_seed_once(kind: str, tmp_path: Path):
    run = carry_out(tmp_path, plan(kind, archs=6, seeds=3))
    assert run.num_done == len(run.trials) == 6 * 3 * len(SIDES[kind])
    assert len({(t.side, t.seed, t.arch_id) for t in run.trials}) == len(run.trials)
    assert len({t.arch_id for t in run.trials}) == 6
    assert {t.status for t in run.trials} == {"completed", "failed"}
    for trial in run.trials:
        assert SPACE.decode(trial.tokens).arch_id == trial.arch_id
        outcome = run_job(fake_score, Job(trial=0, spec=SPACE.decode(trial.tokens), seed=trial.seed), "")
        if outcome.metrics is None:
            assert (trial.status, trial.reason) == ("failed", outcome.reason)
            assert (trial.reward, trial.metrics) == (0.0, {})
        else:
            assert (trial.status, trial.metrics) == ("completed", outcome.metrics)
            assert trial.reward == trial.metrics["ap"]


def test_two_sides_share_architectures_but_no_seed(tmp_path: Path):
    run = carry_out(tmp_path, plan("correlate", seeds=3))
    seeds = {side: {t.seed for t in run.trials if t.side == side} for side in "ab"}
    assert seeds == {"a": {5, 7, 9}, "b": {6, 8, 10}}
    archs = [{t.arch_id for t in run.trials if t.side == side} for side in "ab"]
    assert archs[0] == archs[1]


def test_the_architectures_are_those_of_a_random_search():
    proposed = RandomController(SPACE, seed=5).suggest(40)
    different = list(dict.fromkeys(SPACE.decode(s.tokens).arch_id for s in proposed))
    archs = sample_architectures(SPACE, num_archs=8, seed=5)
    assert [arch_id for _, arch_id in archs] == different[:8]
    assert sample_architectures(SPACE, num_archs=5, seed=5) == archs[:5]
    assert sample_architectures(SPACE, num_archs=8, seed=6) != archs


def test_a_space_with_too_few_networks_says_so():
    assert len(sample_architectures(SPACE, num_archs=44, seed=0)) == 44
    with pytest.raises(ValueError, match=r"--archs: 45 different .* in the space types_only, only 44"):
        sample_architectures(SPACE, num_archs=45, seed=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_study_with_any_number_of_workers(kind: str, tmp_path: Path):
    serial = carry_out(tmp_path / "serial", plan(kind), scorer=SerialScorer(lambda: fake_score))
    for num_workers, order in ((1, 0), (2, 1), (7, 2)):
        scorer = FakeScorer(num_workers, order)
        other = carry_out(tmp_path / str(num_workers), plan(kind), scorer=scorer)
        assert everything(other) == everything(serial)


def test_a_study_in_which_nothing_lives_stops_and_continues_when_that_is_fixed(tmp_path: Path):
    def broken(spec: ArchSpec, seed: int) -> dict[str, float]:
        raise ValueError("no file system mounted")

    wanted = plan("correlate", archs=8, seeds=2)
    with pytest.raises(EngineError, match=r"the first 5 trainings of side a all failed: 5 x ValueError: no"):
        carry_out(tmp_path, wanted, scorer=SerialScorer(lambda: broken))
    run = carry_out(tmp_path, wanted)
    assert run.num_done == 32
    assert [t.trial for t in run.trials if t.reason.endswith("no file system mounted")] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kind", few(KINDS, 1))
def test_a_ledger_cut_anywhere_resumes_to_the_same_end(kind: str, tmp_path: Path):
    """Cut at 25 random bytes, as a kill in the middle of any write would leave it."""
    expected = everything(carry_out(tmp_path / "whole", plan(kind)))
    data = (tmp_path / "whole" / LEDGER_NAME).read_bytes()
    first_line = data.index(b"\n") + 1
    for cut in sorted(random.Random(5).sample(range(first_line, len(data)), 25)):
        run_dir = tmp_path / str(cut)
        shutil.copytree(tmp_path / "whole", run_dir)
        (run_dir / LEDGER_NAME).write_bytes(data[:cut])
        before = read_ledger(run_dir / LEDGER_NAME).events
        done = {event["trial"] for event in before if event["event"] == "result"}
        scorer = FakeScorer(3, order=cut)
        assert everything(carry_out(run_dir, plan(kind), scorer=scorer)) == expected
        assert not done & set(scorer.submitted), "a finished training was repeated"
        assert read_ledger(run_dir / LEDGER_NAME).events[: len(before)] == before


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_sigkill_at_random_moments(kind: str, tmp_path: Path):
    with Forks(fake_study.__file__) as forks:
        check_kills(
            forks,
            tmp_path,
            lambda run_dir: f"{run_dir} {kind} 10 4",
            everything,
            num_runs=10,
            least_killed=7,
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_can_grow(kind: str, tmp_path: Path):
    """More requested later give the trainings that they would have given if requested at once."""
    expected = by_training(carry_out(tmp_path / "whole", plan(kind, archs=9, seeds=4)))
    for steps in ([(9, 2), (9, 4)], [(4, 4), (9, 4)], [(3, 1), (5, 4), (9, 4)]):
        run_dir = tmp_path / str(steps)
        submitted = []
        for archs, seeds in steps:
            scorer = FakeScorer()
            run = carry_out(run_dir, plan(kind, archs=archs, seeds=seeds), scorer=scorer)
            submitted += scorer.submitted
            assert run.num_done == archs * seeds * len(SIDES[kind])
        assert by_training(run) == expected
        assert len(submitted) == len(set(submitted)) == len(expected)


def test_the_reward_of_what_is_taken_over_is_this_study_s_metric(tmp_path: Path):
    """The other run was made with ``ap50`` as its reward, and does not have ``ap`` of every training."""
    other = carry_out(tmp_path / "other", replace(plan(archs=4, seeds=2), reward_metric="ap50"))
    completed = [t for t in other.trials if t.status == "completed"]
    assert all(t.reward == t.metrics["ap50"] != t.metrics["ap"] for t in completed)
    without = completed[0]
    without.metrics = {"ap50": without.metrics["ap50"], "ap": None}
    scorer = FakeScorer()
    known = {("", t.arch_id, t.seed): (t, tmp_path / "other") for t in completed}
    run = carry_out(tmp_path / "run", plan(archs=4, seeds=2), scorer=scorer, known=known)
    assert by_training(run) == by_training(carry_out(tmp_path / "whole", plan(archs=4, seeds=2)))
    trained = [t for t in run.trials if t.trial in scorer.submitted]
    assert (without.arch_id, without.seed) in [(t.arch_id, t.seed) for t in trained]
    assert len(trained) == 8 - len(completed) + 1


def test_results_of_another_study_are_taken_over(tmp_path: Path):
    other = carry_out(tmp_path / "other", plan(archs=4, seeds=2))
    known = {
        ("", t.arch_id, t.seed): (t, tmp_path / "other") for t in other.trials if t.status == "completed"
    }
    scorer = FakeScorer()
    run = carry_out(tmp_path / "run", plan(archs=6, seeds=3), scorer=scorer, known=known)
    assert by_training(run) == by_training(carry_out(tmp_path / "whole", plan(archs=6, seeds=3)))
    reused = [t for t in run.trials if t.reused_from]
    assert {("", t.arch_id, t.seed) for t in reused} == set(known)
    assert {t.reused_from for t in reused} == {"other"}
    assert not {t.trial for t in reused} & set(scorer.submitted)
    assert len(scorer.submitted) == 18 - len(known)


def test_files_of_what_is_taken_over_come_with_it(tmp_path: Path):
    """Those that are kept here; one that is gone there is only missing."""
    other = carry_out(tmp_path / "other", plan(archs=3, seeds=2))
    completed = [t for t in other.trials if t.status == "completed"]
    theirs = TrialFiles(tmp_path / "other", pytest.fail)
    for trial in completed:
        trial.files = theirs.write(trial.trial, {DETECTIONS: f"{trial.trial}".encode(), "more": b""})
    gone = completed[0]
    theirs.remove(gone.trial, DETECTIONS)
    known = {("", t.arch_id, t.seed): (t, tmp_path / "other") for t in completed}
    wanted = replace(plan(archs=3, seeds=2), wants=frozenset({DETECTIONS}))
    run = carry_out(tmp_path / "run", wanted, known=known, scorer=SerialScorer(lambda: fake_score))
    read = kept_reader(tmp_path / "run", DETECTIONS)
    reused = [t for t in run.trials if t.reused_from]
    assert len(reused) == len(completed)
    for trial in reused:
        source = known["", trial.arch_id, trial.seed][0]
        assert read(trial) == (None if source is gone else f"{source.trial}".encode())
        assert list(trial.files) == ([] if source is gone else [DETECTIONS])
