"""The controller's states on disk, whatever becomes of the files."""

import random
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
