"""Attempts whose workers are lost, in the loop and in the ledger."""

import random
from pathlib import Path

import pytest
from fake_search import FakeScorer, carry_out
from fake_study import carry_out as carry_out_study
from fake_study import plan as study_plan

from spinesearch.results.ledger.ledger import LEDGER_NAME, read_ledger
from spinesearch.results.ledger.run import Attempt, Run, Trial
from spinesearch.results.tables import lost_attempts
from spinesearch.search.scoring.scorer import Job, LostAttempt, Outcome


class LossyScorer(FakeScorer):
    """Loses the worker of every other candidate, once or twice; interrupted at a wait if told to."""

    def __init__(self, order: int = 0, stop_after: int | None = None) -> None:
        super().__init__(num_workers=3, order=order)
        self._random = random.Random(order)
        self._stop_after = stop_after
        self._num_waits = 0
        self.attempts: list[tuple[int, int]] = []

    def submit(self, job: Job) -> None:
        self.attempts.append((job.trial, job.attempt))
        super().submit(job)

    def wait(self, timeout_s: float) -> list[Outcome | LostAttempt]:
        self._num_waits += 1
        if self._num_waits == self._stop_after:
            raise KeyboardInterrupt
        if self._queue and self._random.random() < 0.5 and self._queue[0].attempt < 3:
            job = self._queue.pop(0)
            lost = LostAttempt(
                trial=job.trial, attempt=job.attempt, reason="it froze", node="n", worker="w", seconds=2.0
            )
            self._queue.append(job.again(lost.reason))
            return [lost]
        return list(super().wait(timeout_s))


def told(run: Run) -> list[tuple]:
    return [(t.tokens, t.arch_id, t.status, t.reward, t.reason) for t in run.trials]


@pytest.mark.parametrize("order", range(3))
def test_lost_attempts_change_nothing_but_are_on_record(tmp_path: Path, order: int):
    whole, digest = carry_out(tmp_path / "whole")
    run, lossy_digest = carry_out(tmp_path / "lossy", scorer=LossyScorer(order))
    assert told(run) == told(whole)
    assert lossy_digest == digest
    lost = [attempt for trial in run.trials for attempt in trial.lost]
    assert lost
    for trial in run.trials:
        assert [attempt.attempt for attempt in trial.lost] == list(range(1, len(trial.lost) + 1))
        if trial.status != "duplicate":
            assert trial.attempts == len(trial.lost) + 1
    events = read_ledger(tmp_path / "lossy" / LEDGER_NAME).events
    assert [e["reason"] for e in events if e["event"] == "attempt"] == ["it froze"] * len(lost)


@pytest.mark.parametrize("stop_after", [3, 9])
def test_a_continued_run_counts_the_attempts_on_record(tmp_path: Path, stop_after: int):
    with pytest.raises(KeyboardInterrupt):
        carry_out(tmp_path, scorer=LossyScorer(1, stop_after=stop_after))
    run = Run.from_events(tmp_path, read_ledger(tmp_path / LEDGER_NAME).events)
    lost_before = {trial.trial: len(trial.lost) for trial in run.trials if not trial.is_done}
    scorer = LossyScorer(2)
    run, _ = carry_out(tmp_path, scorer=scorer)
    assert any(lost_before.values())
    for trial, attempt in scorer.attempts:
        assert attempt == 1 + lost_before.get(trial, 0)
    assert told(run) == told(carry_out(tmp_path / "whole")[0])


def test_studies_record_them_too(tmp_path: Path):
    whole = carry_out_study(tmp_path / "whole", study_plan())
    run = carry_out_study(tmp_path / "lossy", study_plan(), scorer=LossyScorer(3))
    assert told(run) == told(whole)
    assert any(trial.lost for trial in run.trials)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({"trial": 7}, "an attempt at trial 7, which was not proposed"),
        ({"trial": 0}, "an attempt at trial 0, which has its result already"),
    ],
)
def test_an_attempt_that_does_not_fit_is_an_error(event: dict, reason: str):
    run = Run(sessions=[{"event": "run"}])
    run.trials.append(Trial(trial=0, tokens=(0,), arch_id="a", status="completed", reward=0.0))
    fields = {
        "event": "attempt",
        "attempt": 1,
        "reason": "",
        "node": "",
        "worker": "",
        "seconds": 0,
        "time": 0,
    }
    with pytest.raises(ValueError, match=reason):
        run.apply({**fields, **event})


def test_lost_attempts_are_listed_newest_first():
    assert lost_attempts(Run()) is None
    trial = Trial(trial=4, tokens=(0,), arch_id="a")
    for i in range(12):
        attempt = Attempt(
            attempt=i + 1, reason=f"[red] {i}", node="n", worker="w:1", seconds=1.5, time=float(i)
        )
        (trial.lost_before if i < 3 else trial.lost).append(attempt)  # reopened after the first three
    table = lost_attempts(Run(trials=[trial]))
    assert table is not None
    assert table.title == "12 attempts lost with their workers, 18 s of work"
    assert [str(cell) for cell in table.columns[5].cells] == [
        *(f"[red] {i}" for i in range(11, 1, -1)),
        "and 2 earlier ones",
    ]
