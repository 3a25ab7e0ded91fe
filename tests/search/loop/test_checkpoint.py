"""The controller's states on disk, whatever becomes of the files."""

import random
import signal
import sys
import time
from pathlib import Path

import torch

from spinesearch.search.loop.checkpoint import Checkpoints, state_digest


def test_a_damaged_state_is_passed_over_whatever_reading_it_raises(tmp_path: Path):
    states = [{"weights": torch.arange(64.0) + update, "count": update} for update in range(2)]
    digests = {update: state_digest(state) for update, state in enumerate(states)}
    checkpoints = Checkpoints(tmp_path, keep=3)
    for update, state in enumerate(states):
        checkpoints.save(update, state)
    newest = max((tmp_path / "controller").glob("*.pt"))
    whole, rng = newest.read_bytes(), random.Random(0)
    num_passed_over = 0
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(whole))] = rng.randrange(256)
        newest.write_bytes(damaged)
        found = checkpoints.load_newest(digests)
        assert found is not None
        update, state = found
        assert state_digest(state) == digests[update]
        num_passed_over += update == 0
    assert num_passed_over > 100


def test_a_request_to_stop_while_a_state_is_written_is_not_lost(tmp_path: Path, monkeypatch):
    """A signal at nearly any moment of `save` ends it as itself: torch would make an error of its own of it.

    But for one that arrives in a destructor, where Python itself drops any exception.
    """
    monkeypatch.setattr(sys, "unraisablehook", lambda hook: None)
    state = {f"weights-{i}": torch.zeros(100) for i in range(200)}
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(0, state)
    began = time.perf_counter()
    checkpoints.save(1, state)
    usual_s = time.perf_counter() - began
    rng = random.Random(0)
    requested: list[int] = []

    def request(number: int, frame: object) -> None:
        requested.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, request)
    num_stopped = 0
    try:
        update = 1
        while len(requested) < 30:
            update += 1
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.05, 0.9) * usual_s)
                checkpoints.save(update, state)
                signal.setitimer(signal.ITIMER_REAL, 0)  # before the `try` ends: it may still come just now
            except KeyboardInterrupt:
                num_stopped += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert num_stopped >= 27
