"""A search is a function of configuration and seed: whoever scores, and however often it is killed."""

import json
import os
import random
import shutil
from pathlib import Path

import fake_search
import pytest
from fake_scorer import FakeScorer
from fake_search import Warnings, carry_out, everything, proposals, results, updates
from forked_work import Forks, check_kills
from long_suite import few

from spinesearch.controller import Rollout, Suggestion
from spinesearch.controller.random import RandomController
from spinesearch.controller.strategies import STRATEGIES
from spinesearch.results.ledger.ledger import LEDGER_NAME, Ledger, read_ledger
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.run_lock import RunInUseError
from spinesearch.results.ledger.trial import Trial
from spinesearch.search.config.run_config import run_config
from spinesearch.search.scoring.serial_scorer import SerialScorer

CONTROLLERS = ("random", "reinforce")


@pytest.mark.parametrize("controller", few(STRATEGIES, CONTROLLERS))
@pytest.mark.parametrize("lag", few([0, 1, 3], [1]))
def test_the_same_search_with_any_number_of_workers(controller: str, lag: int, tmp_path: Path):
    serial = carry_out(
        tmp_path / "serial",
        controller=controller,
        lag=lag,
        scorer=SerialScorer(lambda: fake_search.fake_score),
    )
    for num_workers, order in ((1, 0), (2, 1), (2, 2), (7, 3)):
        name = f"{num_workers}-{order}"
        fake = FakeScorer(num_workers, order)
        assert everything(
            carry_out(tmp_path / name, controller=controller, lag=lag, scorer=fake)
        ) == everything(serial)


@pytest.mark.parametrize(
    ("controller", "names"),
    [("evolution", {"parent"}), ("bayesian", {"parent", "prediction", "spread"}), ("random", set())],
)
def test_what_a_strategy_believed_is_on_record_with_its_proposal(controller: str, names, tmp_path: Path):
    """And comes back to it: the error of the predictions is of these."""
    run, _ = carry_out(tmp_path, controller=controller, num_trials=32)
    proposed = [e for e in read_ledger(tmp_path / LEDGER_NAME).events if e["event"] == "propose"]
    assert set().union(*(event.get("info", {}) for event in proposed)) == names
    assert [event.get("info", {}) for event in proposed] == [dict(trial.info) for trial in run.trials]
    assert all(event["info"].get("parent", 0) < event["trial"] for event in proposed if "info" in event)
    errors = {trial.generation for trial in run.trials if "prediction" in trial.info}
    assert {u.update for u in run.updates if "prediction_error" in u.stats} == errors


def test_another_seed_is_another_search(tmp_path: Path):
    first, _ = carry_out(tmp_path / "0", seed=0)
    second, _ = carry_out(tmp_path / "1", seed=1)
    assert proposals(first) != proposals(second)


def test_what_a_search_does(tmp_path: Path):
    """Completed, failed and duplicate trials, each as it should be, and every network scored once."""
    scorer = FakeScorer(3)
    run, _ = carry_out(tmp_path, scorer=scorer, num_trials=120)
    statuses = {trial.status for trial in run.trials}
    assert statuses == {"completed", "failed", "duplicate"}
    scored = [run.trials[number].arch_id for number in scorer.submitted]
    assert len(scored) == len(set(scored)) == len({t.arch_id for t in run.trials})
    for trial in run.trials:
        assert trial.generation == trial.trial // 4
        if trial.status == "failed":
            assert trial.reward == 0.0
            assert trial.reason.startswith("ArithmeticError: the loss of ")
        elif trial.status == "duplicate":
            original = run.trials[trial.duplicate_of]
            assert original.trial < trial.trial
            assert (original.arch_id, original.reward) == (trial.arch_id, trial.reward)
            assert original.metrics == trial.metrics
        else:
            assert trial.reward == trial.metrics["ap"]
    assert [update.update for update in run.updates] == list(range(30))


def test_generation_g_is_sampled_by_the_policy_of_update_g_minus_1_minus_lag(tmp_path: Path):
    """Replayed by hand from the ledger, for lag 2."""
    lag = 2
    run, digest = carry_out(tmp_path, lag=lag, num_trials=24)
    controller = fake_search.build_controller("reinforce", 0)
    for generation in range(6 + lag + 1):
        if generation > lag:
            learnt = run.trials[4 * (generation - 1 - lag) : 4 * (generation - lag)]
            controller.update([rollout(trial) for trial in learnt])
            recorded = run.updates[generation - 1 - lag].digest
            assert fake_search.state_digest(controller.state_dict()) == recorded
        tokens = [suggestion.tokens for suggestion in controller.suggest(4)]
        proposed = [trial.tokens for trial in run.trials[4 * generation : 4 * generation + 4]]
        assert tokens[: len(proposed)] == proposed
    assert fake_search.state_digest(controller.state_dict()) == digest


def rollout(trial: Trial) -> Rollout:
    return Rollout(trial=trial.trial, tokens=trial.tokens, log_probs=trial.log_probs, reward=trial.reward)


@pytest.mark.parametrize("controller", few(STRATEGIES, 1))
@pytest.mark.parametrize("keep_checkpoints", [True, False])
def test_a_ledger_cut_anywhere_resumes_to_the_same_end(
    controller: str, keep_checkpoints: bool, tmp_path: Path
):
    """Cut at 25 random bytes, as a kill in the middle of any write would leave it."""
    whole = carry_out(tmp_path / "whole", controller=controller, num_trials=24)
    expected = everything(whole)
    data = (tmp_path / "whole" / LEDGER_NAME).read_bytes()
    first_line = data.index(b"\n") + 1
    rng = random.Random(5)
    for cut in sorted(rng.sample(range(first_line, len(data)), 25)):
        run_dir = tmp_path / str(cut)
        shutil.copytree(tmp_path / "whole", run_dir)
        if not keep_checkpoints:
            shutil.rmtree(run_dir / "controller")
        (run_dir / LEDGER_NAME).write_bytes(data[:cut])
        before = read_ledger(run_dir / LEDGER_NAME).events
        done = {event["trial"] for event in before if event["event"] == "result"}
        scorer = FakeScorer(3, order=cut)
        assert everything(carry_out(run_dir, controller=controller, scorer=scorer, num_trials=24)) == expected
        assert not done & set(scorer.submitted), "a finished evaluation was repeated"
        after = read_ledger(run_dir / LEDGER_NAME).events
        assert after[: len(before)] == before
        shutil.rmtree(run_dir)


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("rungs", ["", " rungs"], ids=["whole trainings", "rungs"])
def test_sigkill_at_random_moments(tmp_path: Path, rungs: str):
    with Forks(fake_search.__file__) as forks:
        check_kills(
            forks,
            tmp_path,
            lambda run_dir: f"{run_dir} 3 64 reinforce{rungs}",
            lambda run: (proposals(run), results(run), updates(run)),
            num_runs=20,
            least_killed=15,
        )


def test_a_run_can_grow(tmp_path: Path):
    """More trials requested later give the run that they would have given if requested at once."""
    expected = everything(carry_out(tmp_path / "whole", num_trials=40))
    for sizes in ([18, 40], [16, 40], [3, 22, 40], [38, 40], [40, 40]):
        run_dir = tmp_path / "-".join(map(str, sizes))
        for size in sizes:
            outcome = carry_out(run_dir, num_trials=size)
            assert outcome[0].num_done == size
            assert len(outcome[0].updates) == size // 4
        assert everything(outcome) == expected


def test_checkpoints_are_only_a_short_cut(tmp_path: Path):
    """A damaged, a foreign and a missing checkpoint: each is passed over."""
    run_dir = tmp_path / "run"
    carry_out(run_dir, num_trials=20)
    carry_out(tmp_path / "other", num_trials=20, seed=9)
    expected = everything(carry_out(tmp_path / "whole", num_trials=40))
    newest, *_, oldest = sorted((run_dir / "controller").iterdir(), reverse=True)
    newest.write_bytes(newest.read_bytes()[:100])
    shutil.copy(tmp_path / "other" / "controller" / oldest.name, oldest)
    assert everything(carry_out(run_dir, num_trials=40)) == expected
    assert len(list((run_dir / "controller").iterdir())) == 3


def test_proposals_that_another_machine_sampled_are_kept(tmp_path: Path, monkeypatch):
    """Last bits differ between machines; the ledger's word counts, and a warning says so."""
    run, _ = carry_out(tmp_path, num_trials=20)
    recorded = proposals(run)
    shutil.rmtree(tmp_path / "controller")
    warnings = Warnings()
    monkeypatch.setattr(
        fake_search,
        "build_controller",
        lambda name, seed: RandomController(fake_search.SPACE, seed=9),
    )
    run, _ = carry_out(tmp_path, num_trials=24, observer=warnings)
    assert json.loads(proposals(run))[:20] == json.loads(recorded)
    (said,) = warnings.messages  # once, not for every trial and update
    assert said.startswith("trial 0: from here on this machine or release has another controller than")
    assert run.num_done == 24


def test_two_writers_are_refused(tmp_path: Path):
    with Ledger(tmp_path), pytest.raises(RunInUseError, match=rf"another process .*process {os.getpid()} on"):
        carry_out(tmp_path)


def test_a_candidate_without_the_reward_metric_fails(tmp_path: Path):
    def score(spec, seed):
        return {"ap": float("nan"), "loss": float("inf")}

    run, _ = carry_out(tmp_path, scorer=SerialScorer(lambda: score), num_trials=4, controller="random")
    assert {trial.status for trial in run.trials} <= {"failed", "duplicate"}
    assert run.trials[0].reason == "it has no finite ap"


def test_a_ledger_that_holds_sums_of_log_probabilities_replays_to_the_controller_it_had():
    """What an earlier release recorded, learnt from again: the same candidates come out."""
    path = Path(__file__).parents[2] / "fixtures/november_2026/runs/search" / LEDGER_NAME
    run = Run.from_events(path, read_ledger(path).events)
    config = run_config(run.config)
    controller = config.controller.build(run.space, seed=config.seed)
    controller.suggest(2)
    for update in run.updates:  # lag 1, generations of two
        proposed, learnt = (run.trials[2 * g : 2 * g + 2] for g in (update.update + 1, update.update))
        assert [s.tokens for s in controller.suggest(2)][: len(proposed)] == [t.tokens for t in proposed]
        assert controller.update([rollout(t) for t in learnt]) == pytest.approx(
            update.stats, rel=1e-4, abs=1e-6
        )


class Stubborn(RandomController):
    """Proposes one network for ever."""

    def suggest(self, count, *, given=()):
        return [Suggestion(tokens=(0, 1, 0, 1, 0, 1)) for _ in range(count)]


def test_a_strategy_that_has_settled_is_reported_once(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(
        fake_search, "build_controller", lambda name, seed: Stubborn(fake_search.SPACE, seed=seed)
    )
    warnings = Warnings()
    carry_out(tmp_path, num_trials=20, observer=warnings)
    (said,) = warnings.messages
    assert said.startswith(
        "update 0: 3 of 4 candidates repeat networks that were scored before: the strategy"
    )


@pytest.mark.parametrize(("controller", "is_short"), [("reinforce", True), ("random", False)])
def test_a_search_that_is_too_short_to_learn_says_what_to_give(
    controller: str, is_short: bool, tmp_path: Path
):
    warnings = Warnings()
    carry_out(tmp_path, controller=controller, num_trials=8, observer=warnings)
    assert any("give search.num_trials=32, or a smaller" in line for line in warnings.messages) == is_short
