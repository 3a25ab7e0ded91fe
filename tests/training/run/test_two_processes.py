"""Two processes train as one does with the whole batch, and end bit-equal however they were interrupted."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from marked_processes import MARK, kill_marked, wait_for_checkpoint
from safetensors.torch import load_file
from tiny_training import assert_equal_states, open_tiny, settings, train_in
from torch import nn
from torch.testing import assert_close
from trained_run import command
from two_processes import TOGETHER, normalize_together, train_together

from spinesearch.training.run.long_training import Stopped

TORCHRUN = [
    *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
    *("-m", "spinesearch"),
]


def start(task, folder: Path, *arguments: object) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "meet").unlink(missing_ok=True)
    torch.multiprocessing.spawn(task, (folder, *arguments), nprocs=2)


def assert_near(state: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Equal but for some steps of float32 sums in another order."""
    for name, tensor in expected.items():
        assert_close(state[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.slow
def test_statistics_and_gradients_are_those_of_the_whole_batch(tmp_path):
    x = torch.randn(6, 3, 5, 4, generator=torch.Generator().manual_seed(0)) * 2 + 1
    start(normalize_together, tmp_path, x)
    norm = nn.BatchNorm2d(3, momentum=0.5)
    with torch.no_grad():
        norm.weight.copy_(torch.arange(1.0, 4.0))
    whole = x.clone().requires_grad_()
    out = norm(whole)
    (out * out.detach().sin()).sum().backward()
    parts = [torch.load(tmp_path / f"norm-{rank}.pt") for rank in (0, 1)]
    for rank, part in enumerate(parts):
        assert_close(part[0], out.detach()[rank::2], rtol=1e-5, atol=1e-5)
        assert_close(part[1], whole.grad[rank::2], rtol=1e-4, atol=1e-5)
        assert_close(part[4], norm.running_mean, rtol=1e-5, atol=1e-6)
        assert_close(part[5], norm.running_var, rtol=1e-5, atol=1e-6)
    assert_close(parts[0][2] + parts[1][2], norm.weight.grad, rtol=1e-4, atol=1e-4)
    assert_close(parts[0][3] + parts[1][3], norm.bias.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_torchrun_trains_one_network_with_two_processes(tmp_path):
    words = command(tmp_path, tmp_path / "cache")
    result = subprocess.run(
        [*TORCHRUN, *words],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("4 steps on 8 images") == 1  # one of them speaks
    assert (tmp_path / "runs" / "run" / "weights" / "best.safetensors").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_take_the_steps_of_one_and_end_bit_equal_when_resumed(tmp_path):
    cache = tmp_path / "cache"
    _, alone = train_in(tmp_path / "alone", open_tiny(cache), settings(**TOGETHER))
    start(train_together, tmp_path / "whole", cache, None)
    whole = torch.load(tmp_path / "whole" / "state-0.pt")
    assert_equal_states(torch.load(tmp_path / "whole" / "state-1.pt"), whole)
    assert_near(whole, alone)
    start(train_together, tmp_path / "parts", cache, 2)
    start(train_together, tmp_path / "parts", cache, None)
    assert_equal_states(torch.load(tmp_path / "parts" / "state-0.pt"), whole)
    # One process until the third step, two from there on: equal to either as these are to each other.
    (tmp_path / "mixed").mkdir()
    with pytest.raises(Stopped):
        train_in(tmp_path / "mixed" / "run", open_tiny(cache), settings(**TOGETHER), stop_at=3)
    start(train_together, tmp_path / "mixed", cache, None)
    assert_near(torch.load(tmp_path / "mixed" / "state-0.pt"), alone)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_batch_that_does_not_divide_takes_the_steps_of_one_process(tmp_path):
    """Five images, three for the first process and two for the second; normalised over all five."""
    cache, uneven = tmp_path / "cache", {**TOGETHER, "batch_size": 5, "num_epochs": 1}
    _, alone = train_in(tmp_path / "alone", open_tiny(cache), settings(**uneven))
    start(train_together, tmp_path / "uneven", cache, None, uneven)
    assert_near(torch.load(tmp_path / "uneven" / "state-0.pt"), alone)


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_two_processes_killed_three_times_end_bit_equal(tmp_path):
    moments = random.Random(1)
    mark = f"two-{os.getpid()}"
    for name, kills in (("whole", 0), ("parts", 3)):
        words = [*TORCHRUN, *command(tmp_path / name, tmp_path / "cache", "train.num_epochs=20")]
        for _ in range(kills):
            process = subprocess.Popen(
                words,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, MARK: mark},
            )
            wait_for_checkpoint(tmp_path / name / "runs" / "run", process)
            time.sleep(moments.uniform(0, 2))
            kill_marked(mark)
            process.communicate()
        ended = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert ended.returncode == 0, ended.stdout
    weights = Path("runs") / "run" / "weights" / "last.safetensors"
    assert_equal_states(load_file(tmp_path / "parts" / weights), load_file(tmp_path / "whole" / weights))
