"""Candidates that the infrastructure failed: not learnt from, and their duplicates are tried themselves."""

import math
import shutil
from pathlib import Path

import pytest
from fake_scorer import FakeScorer, healthy_score
from fake_search import Warnings, build_controller, carry_out, everything
from fake_space import SPACE

from spinesearch.controller import Rollout
from spinesearch.controller.random import RandomController
from spinesearch.results.ledger.ledger import LEDGER_NAME, read_ledger
from spinesearch.results.ledger.lines import encode_event
from spinesearch.results.ledger.run import Run
from spinesearch.search.loop.checkpoint import state_digest
from spinesearch.search.scoring.scorer import Outcome
from spinesearch.search.watchers.tensorboard import TensorBoardObserver

REASON = "its worker was lost 3 times, the last: its node is gone"


class LosesSome(FakeScorer):
    """Loses every worker that tries one of some trials.

    Args:
        trials: which.
        blames_them: as earlier releases did, which gave such a candidate the reward of a failed one.
    """

    def __init__(self, trials: set[int], order: int = 0, blames_them: bool = False) -> None:
        super().__init__(num_workers=3, order=order, score=healthy_score)
        self._lost = trials
        self._blames_them = blames_them

    def wait(self, timeout_s: float) -> list[Outcome]:
        return [
            Outcome(trial=o.trial, metrics=None, reason=REASON, attempts=3, is_lost=not self._blames_them)
            if o.trial in self._lost
            else o
            for o in super().wait(timeout_s)
        ]


def of_one_network(run: Run) -> list[int]:
    """The trials of the network that was proposed most often."""
    groups: dict[str, list[int]] = {}
    for trial in run.trials:
        groups.setdefault(trial.arch_id, []).append(trial.trial)
    return max(groups.values(), key=len)


@pytest.fixture(scope="module")
def repeated(tmp_path_factory) -> list[int]:
    """Trials of one network, by random search, in which no result changes what is proposed."""
    run, _ = carry_out(tmp_path_factory.mktemp("run"), controller="random", num_trials=60)
    trials = of_one_network(run)
    assert len(trials) >= 3
    return trials


@pytest.mark.parametrize("order", [0, 1])
def test_duplicates_of_a_lost_candidate_are_tried_themselves(repeated, order: int, tmp_path: Path):
    first, second, *others = repeated
    scorer = LosesSome({first}, order)
    run, _ = carry_out(tmp_path, controller="random", num_trials=60, scorer=scorer)
    lost = run.trials[first]
    assert (lost.status, lost.failed_by, lost.reward) == ("failed", "infrastructure", None)
    assert lost.reason == REASON
    assert run.trials[second].status == "completed"
    assert {run.trials[other].duplicate_of for other in others} == {second}
    assert scorer.submitted.count(first) == scorer.submitted.count(second) == 1
    assert run.num_done == 60


def test_a_duplicate_that_waits_takes_the_place_of_the_lost_one(tmp_path: Path):
    """All of a run in flight at once, so that every duplicate waits; the first two of a kind are lost."""
    whole, _ = carry_out(tmp_path / "whole", controller="random", num_trials=60, lag=14)
    first, second, third, *_ = of_one_network(whole)
    scorer = LosesSome({first, second})
    run, _ = carry_out(tmp_path / "run", controller="random", num_trials=60, lag=14, scorer=scorer)
    assert [run.trials[n].failed_by for n in (first, second)] == ["infrastructure"] * 2
    assert run.trials[third].status == "completed"
    assert scorer.submitted[-2:] == [second, third]


def test_lost_candidates_are_left_out_of_learning_and_so_they_stay(tmp_path: Path):
    lost = {1, 2, 9, 12, 13, 14, 15}
    whole = carry_out(tmp_path / "whole", num_trials=24, scorer=LosesSome(lost))
    run, digest = whole
    masked = {trial.trial for trial in run.trials if trial.is_masked}
    assert len(masked) >= 4
    assert masked <= lost
    by_hand = build_controller("reinforce", 0)
    for generation in range(6 + 2):
        if generation > 1:
            learnt = run.trials[4 * (generation - 2) : 4 * (generation - 1)]
            by_hand.update(
                [
                    Rollout(trial=t.trial, tokens=t.tokens, log_probs=t.log_probs, reward=t.reward)
                    for t in learnt
                ]
            )
        by_hand.suggest(4)
    assert state_digest(by_hand.state_dict()) == digest
    # Replayed from the ledger alone, without a state: nothing is tried again, and the same comes out.
    shutil.rmtree(tmp_path / "whole" / "controller")
    scorer, warnings = FakeScorer(), Warnings()
    again = carry_out(tmp_path / "whole", num_trials=24, scorer=scorer, observer=warnings)
    assert everything(again) == everything(whole)
    assert not scorer.submitted
    assert not warnings.messages


def test_a_ledger_of_an_earlier_release_replays_as_it_was_learnt(tmp_path: Path):
    """There such a candidate had the reward of a failed one, and so had its duplicates."""
    scorer = LosesSome({1, 2, 9}, blames_them=True)
    carry_out(tmp_path / "old", num_trials=24, scorer=scorer)
    events = read_ledger(tmp_path / "old" / LEDGER_NAME).events
    assert not any("failed_by" in event for event in events)
    lines = b"".join(encode_event(number, event) for number, event in enumerate(events))
    (tmp_path / "old" / LEDGER_NAME).write_bytes(lines)  # without the marks of an append, as then
    shutil.rmtree(tmp_path / "old" / "controller")
    scorer, warnings = LosesSome(set()), Warnings()
    run, _ = carry_out(tmp_path / "old", num_trials=32, scorer=scorer, observer=warnings)
    # Small as the space is, the strategy has settled by then, and says so.
    assert not any("another controller" in message for message in warnings.messages)
    assert min(scorer.submitted) >= 24
    assert run.trials[1].reward == 0.0
    assert run.num_done == 32


def test_a_reopened_candidate_has_all_its_attempts_again_and_none_is_forgotten():
    run = Run(sessions=[{"event": "run"}])
    for trial in range(2):
        run.apply({"event": "propose", "trial": trial, "tokens": [0], "arch_id": "a", "generation": 0})
    lost = {"event": "attempt", "reason": "gone", "node": "n", "worker": "w", "seconds": 1.0, "time": 1.0}
    for attempt in range(1, 4):
        run.apply({**lost, "trial": 0, "attempt": attempt})
    result = {"event": "result", "status": "failed", "reward": None, "failed_by": "infrastructure"}
    run.apply({**result, "trial": 0, "reason": REASON, "time": 2.0})
    assert run.trials[0].is_masked
    run.apply({"event": "reopen", "trials": [0], "reason": "", "time": 3.0})
    trial = run.trials[0]
    assert (trial.is_done, trial.is_masked, trial.reason, len(trial.lost)) == (False, False, "", 0)
    assert [attempt.attempt for attempt in trial.lost_before] == [1, 2, 3]


class NotANumber(RandomController):
    """Logs what is no number at every second update."""

    def update(self, rollouts):
        state = self.state_dict()["num_suggested"]
        return {"loss": math.nan if state % 8 else 1.0, "entropy": math.inf, "baseline": 0.5}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of tensorboard's own reader
def test_a_statistic_that_is_no_number_is_recorded_as_null(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("fake_search.build_controller", lambda name, seed: NotANumber(SPACE, seed=seed))
    warnings = Warnings()
    run, _ = carry_out(tmp_path, num_trials=12, observer=warnings, lag=0)
    assert dict(run.updates[0].stats) == {"loss": None, "entropy": None, "baseline": 0.5}
    assert dict(run.updates[1].stats) == {"loss": 1.0, "entropy": None, "baseline": 0.5}
    assert warnings.messages[0] == "update 0: not a finite number, recorded as null: loss, entropy"
    # It does not stand in the way of resuming, nor of what shows and draws it.
    run, _ = carry_out(tmp_path, num_trials=16, lag=0, observer=TensorBoardObserver(tmp_path))
    assert run.num_done == 16
