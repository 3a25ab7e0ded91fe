"""Attempts whose workers are lost, in the loop and in the ledger."""

import os
import random
import socket
from pathlib import Path

import pytest
from fake_scorer import FakeScorer, fake_score
from fake_search import carry_out
from fake_study import carry_out as carry_out_study
from fake_study import plan as study_plan

from spinesearch.results.ledger.ledger import LEDGER_NAME, Ledger, read_ledger
from spinesearch.results.ledger.run import DRIVER_LOST, Run
from spinesearch.results.ledger.trial import Attempt, Trial
from spinesearch.results.tables import lost_attempts
from spinesearch.search.loop.observer import SearchObserver
from spinesearch.search.scoring.attempts import record_stop
from spinesearch.search.scoring.scorer import (
    BegunAttempt,
    EngineError,
    Job,
    LostAttempt,
    Outcome,
    Scorer,
    ScorerEvent,
)
from spinesearch.search.scoring.serial_scorer import SerialScorer


class LossyScorer(FakeScorer):
    """Loses the worker of every other candidate, once or twice; interrupted at a wait if requested."""

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
            job = self._queue.popleft()
            lost = LostAttempt(
                trial=job.trial, attempt=job.attempt, reason="it froze", node="n", worker="w", seconds=2.0
            )
            self._queue.append(job.again(lost.reason))
            return [lost]
        return list(super().wait(timeout_s))


def recorded(run: Run) -> list[tuple]:
    return [(t.tokens, t.arch_id, t.status, t.reward, t.reason) for t in run.trials]


@pytest.mark.parametrize("order", range(3))
def test_lost_attempts_change_nothing_but_are_on_record(tmp_path: Path, order: int):
    whole, digest = carry_out(tmp_path / "whole")
    run, lossy_digest = carry_out(tmp_path / "lossy", scorer=LossyScorer(order))
    assert recorded(run) == recorded(whole)
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
    assert recorded(run) == recorded(carry_out(tmp_path / "whole")[0])


def killed_at(run_dir: Path, trial: int, scorer: Scorer) -> None:
    """The run's process is killed, the ledger left as it is, when a trial's beginning is on record."""

    class Killing(SearchObserver):
        def ticked(self, num_running: int) -> None:
            events = read_ledger(run_dir / LEDGER_NAME).events
            if any(event.get("begin") and event["trial"] == trial for event in events[num_before:]):
                os._exit(9)

    path = run_dir / LEDGER_NAME
    num_before = len(read_ledger(path).events) if path.exists() else 0
    child = os.fork()
    if child == 0:
        carry_out(run_dir, scorer=scorer, observer=Killing(), num_trials=8)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 9


def resumed(run_dir: Path) -> Run:
    """The run as the next process sees it."""
    with Ledger(run_dir) as ledger:
        ledger.append([{"event": "run", "config": {}, "time": 7.0}])
    return Run.from_events(run_dir, read_ledger(run_dir / LEDGER_NAME).events)


def serial(max_attempts: int = 3) -> SerialScorer:
    return SerialScorer(lambda: fake_score, max_attempts=max_attempts)


def test_a_candidate_that_takes_the_machine_down_each_time_fails_after_max_attempts(tmp_path: Path):
    for count in (1, 2):
        killed_at(tmp_path, 5, serial(max_attempts=2))
        run = resumed(tmp_path)
        assert [attempt.attempt for attempt in run.trials[5].lost] == list(range(1, count + 1))
    assert run.trials[5].lost[0].reason == DRIVER_LOST
    assert run.trials[5].lost[0].worker.startswith(socket.gethostname())
    assert run.trials[5].lost[0].time == 7.0
    run, _ = carry_out(tmp_path, scorer=serial(max_attempts=2), num_trials=8)
    assert (run.trials[5].status, run.trials[5].attempts) == ("failed", 2)
    assert run.trials[5].reason == f"its worker was lost 2 times, the last: {DRIVER_LOST}"
    assert all(trial.is_done for trial in run.trials)
    whole, _ = carry_out(tmp_path / "whole", scorer=serial(), num_trials=8)
    assert [t.reward for t in run.trials[:5]] == [t.reward for t in whole.trials[:5]]
    assert not any(trial.lost for trial in run.trials if trial.trial != 5)


@pytest.mark.parametrize("error", [KeyboardInterrupt, EngineError])
def test_a_search_that_stops_in_good_order_costs_no_attempt(tmp_path: Path, error: type[BaseException]):
    """Ctrl-C, SIGTERM, which ends it the same way, and a stop of its own."""

    class Stopping(SerialScorer):
        def wait(self, timeout_s: float) -> list[ScorerEvent]:
            if any(isinstance(event, BegunAttempt) and event.trial == 5 for event in self.last):
                raise error
            self.last = super().wait(timeout_s)
            return self.last

    for _ in range(4):
        scorer = Stopping(lambda: fake_score, max_attempts=2)
        scorer.last = []
        with pytest.raises(error):
            carry_out(tmp_path, scorer=scorer, num_trials=8)
        events = read_ledger(tmp_path / LEDGER_NAME).events
        assert [event["event"] for event in events[-2:]] == ["attempt", "stop"]
        run = resumed(tmp_path)
        assert not run.trials[5].lost
        assert not run.begun
    run, _ = carry_out(tmp_path, scorer=serial(), num_trials=8)
    assert run.trials[5].attempts == 1
    assert recorded(run) == recorded(carry_out(tmp_path / "whole", scorer=serial(), num_trials=8)[0])


def test_a_search_that_ends_leaves_no_stop_and_nothing_begun(tmp_path: Path):
    run, _ = carry_out(tmp_path, scorer=serial(), num_trials=8)
    assert not run.begun
    events = read_ledger(tmp_path / LEDGER_NAME).events
    trained = [event["trial"] for event in events if event["event"] == "result" and event.get("worker")]
    assert [event["trial"] for event in events if event["event"] == "attempt"] == trained
    assert "stop" not in {event["event"] for event in events}


def test_a_stop_that_cannot_be_written_hides_no_error(tmp_path: Path):
    with Ledger(tmp_path) as ledger:
        run = Run(sessions=[{"event": "run"}], begun={0: {}})
    record_stop(ledger, run, 0.0)  # closed
    assert run.begun == {0: {}}


def test_studies_record_them_too(tmp_path: Path):
    whole = carry_out_study(tmp_path / "whole", study_plan())
    run = carry_out_study(tmp_path / "lossy", study_plan(), scorer=LossyScorer(3))
    assert recorded(run) == recorded(whole)
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
