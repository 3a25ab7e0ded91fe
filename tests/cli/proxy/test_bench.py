"""``spinesearch bench proxy``: what it prints, and what it refuses."""

import re
from pathlib import Path

import pytest
import torch
from cli_checks import fails

from spinesearch.cli.main import main
from spinesearch.proxy_task import task
from spinesearch.space import SPINENET_49


@pytest.fixture
def settings(tiny: list[str]) -> list[str]:
    return [text for text in tiny if text.startswith(("data.", "proxy_task."))]


@pytest.mark.slow
def test_the_table_of_a_real_candidate(settings, capsys):
    assert main(["bench", "proxy", *settings, "--steps", "3"]) == 0
    out = capsys.readouterr().out
    assert "training for 10 steps to warm up and 3 to measure\n" in out
    lines = out[out.index("a step of 4 images: 3 steps on cpu") :].splitlines()
    assert max(map(len, lines)) <= 80, out
    phases = [line.split()[0] for line in lines if line.rstrip().endswith("%") and "to" in line.split()]
    assert phases == ["data", "augmentation", "targets", "forward", "loss", "backward", "optimizer"]
    shares = [float(line.split()[-2]) for line in lines if line.split()[:1] and line.split()[0] in phases]
    assert sum(shares) == pytest.approx(100, abs=0.5)
    text = "\n".join(lines)
    for pattern in (
        r"^step +\d+\.\d\d +\d+\.\d\d to \d+\.\d\d",
        r"^\d+ training images/s$",
        r"^a candidate of 2 steps: \d+\.\d s, of which$",
        r"build .* recalibration .* evaluation \d+\.\d s \(\d+\.\d %\)",
        r"^peak memory of the process: \d+\.\d\d GiB$",
        r"^\d+ M multiply-adds an image: \d+\.\d GFLOP/s in training, \d+\.\d % of$",
        r"float32 matrix product$",
        r"\d+ cores?(, .*)?; \d{4}-\d\d-\d\d$",
        r"^spinesearch \S+, torch \S+, Python 3",
        r"^spinesearch bench proxy\b",
    ):
        assert re.search(pattern, text, flags=re.MULTILINE), pattern


@pytest.mark.slow
def test_another_candidate(settings, tmp_path: Path, capsys):
    path = tmp_path / "spec.json"
    path.write_text(SPINENET_49.to_json())
    assert main(["bench", "proxy", *settings, "--steps", "1", "--spec", str(path)]) == 0
    assert "a step of 4 images: 1 steps on cpu" in capsys.readouterr().out


def test_bad_words(settings, tmp_path: Path, capsys):
    command = ["bench", "proxy", *settings]
    fails(["bench", "prxy"], "bench prxy: there is no such command; give one of bench proxy", capsys)
    latency = ["bench", "latency", str(tmp_path / "nodir" / "l.json")]
    fails(latency, "FILE: .*nodir/l.json: there is no folder .*nodir; make it, or give another FILE", capsys)
    fails([*command, "--steps", "0"], "--steps: must be at least 1, got 0", capsys)
    fails([*command, "search.lag=1"], "search.lag: does not affect the time of one", capsys)
    fails([*command, "name=x"], "name: does not affect the time", capsys)
    fails([*command, "proxy_task.lr=0"], "proxy_task.lr: must be a finite number above 0, got 0", capsys)
    fails([*command, "--spec", str(tmp_path / "no.json")], "no.json: cannot be read", capsys)
    fails([*command, "proxy_task.filter_size_scale=0.001"], "proxy_task.filter_size_scale: ", capsys)


def test_help_and_cfg(settings, capsys):
    assert main(["bench", "--help"]) == 0
    assert main(["bench"]) == 2
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "proxy", "--help"])
    assert stopped.value.code == 0
    capsys.readouterr()
    assert main(["bench", "proxy", *settings, "--cfg"]) == 0
    out = capsys.readouterr().out
    assert "batch_size: 4" in out
    assert "controller:" not in out


def test_a_candidate_that_cannot_be_measured_is_reported_in_one_line(settings, monkeypatch, capsys):
    command = ["bench", "proxy", *settings, "--steps", "3"]
    assert main([*command, "proxy_task.lr=1e30", "proxy_task.warmup_steps=0"]) == 1
    err = capsys.readouterr().err
    assert re.fullmatch(r"spinesearch: .*not finite at step \d+.*; give a lower proxy_task.lr\n", err)

    def build(*args: object, **kwargs: object) -> None:
        torch.empty(2**60, dtype=torch.uint8)

    monkeypatch.setattr(task, "build_model", build)
    assert main(command) == 1
    err = capsys.readouterr().err
    assert re.fullmatch(r"spinesearch: out of memory: .*; give a smaller proxy_task.batch_size, .*\n", err)
