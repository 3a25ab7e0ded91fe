"""Two processes train as one does with the whole batch, and end bit-equal however they were interrupted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_training import assert_equal_states, open_tiny, settings, train_in
from torch import nn
from torch.testing import assert_close
from trained_run import command
from two_processes import TOGETHER, normalize_together, train_together


def start(task, folder: Path, *arguments: object) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "meet").unlink(missing_ok=True)
    torch.multiprocessing.spawn(task, (folder, *arguments), nprocs=2)


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
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    result = subprocess.run(
        [*torchrun, "-m", "spinesearch", *words],
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
    for name, tensor in alone.items():  # six steps of float32 sums in another order
        assert_close(whole[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
    start(train_together, tmp_path / "parts", cache, 2)
    start(train_together, tmp_path / "parts", cache, None)
    assert_equal_states(torch.load(tmp_path / "parts" / "state-0.pt"), whole)
