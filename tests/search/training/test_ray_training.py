"""Two workers of Ray Train take one training to its end, also when one of them is killed in the middle."""

import os
import re
import signal
from pathlib import Path

import pytest
from cli_checks import fails
from cli_process import start
from marked_processes import MARK, marked_pids, wait_for_checkpoint
from safetensors.torch import load_file
from tiny_training import assert_equal_states
from trained_run import command, train_run

from spinesearch.results.ledger.run import load_run

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of Ray Data, which Ray Train makes
]
WORDS = ("search.num_workers=2", "train.num_epochs=40", "train.eval_every_epochs=10")
LAST = Path("weights") / "last.safetensors"


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_a_killed_worker_restarts_all_and_the_training_ends_bit_equal(tmp_path, cache_dir, monkeypatch):
    whole = train_run(tmp_path / "whole", cache_dir, *WORDS)
    monkeypatch.setenv(MARK, mark := f"ray-{os.getpid()}")
    process = start(command(tmp_path, cache_dir, *WORDS))
    run_dir = tmp_path / "runs" / "run"
    wait_for_checkpoint(run_dir, process)
    victims = marked_pids(mark, "RayTrainWorker")
    assert len(victims) == 2
    os.kill(victims[1], signal.SIGKILL)
    said, _ = process.communicate(timeout=900)
    assert process.returncode == 0, said
    assert re.search(r"a worker was lost \(number [01]: .*\); all are started again", said)
    assert re.search(r"goes on after step \d+ of 80", said)
    assert_equal_states(load_file(run_dir / LAST), load_file(whole / LAST))
    run, _ = load_run(run_dir)
    assert len(run.sessions) == 2
    assert [event["step"] for event in run.measurements] == [20, 40, 60, 80]


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_workers_that_are_asked_to_stop_leave_a_checkpoint(tmp_path, cache_dir):
    process = start(command(tmp_path, cache_dir, *WORDS, "train.num_epochs=2000"))
    run_dir = tmp_path / "runs" / "run"
    wait_for_checkpoint(run_dir, process)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert "spinesearch resume" in said
    assert "Traceback" not in said


def test_what_the_workers_refuse_is_one_line_of_the_command(tmp_path, cache_dir, capsys):
    base = command(tmp_path, cache_dir, "search.num_workers=2")
    fails([*base, "train.frozen=[neck]"], r"train.frozen: .* no part called 'neck'", capsys)
    fails(
        [*base, "train.device=cuda"],
        r"search.num_workers: 2 workers need 1 CPU and 1 GPU each",
        capsys,
    )
    assert not (tmp_path / "runs" / "run").exists()
