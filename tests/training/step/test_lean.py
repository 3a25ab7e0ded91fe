"""What is done to all layers at once is what was done to each, to the last bit: values, gradients, counts."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from recorded_graph import Sessions
from small_training import FEW, SETTINGS, Cells, assert_same, run
from tiny_models import tiny_detector
from torch import Tensor, nn

from spinesearch.models import layers, resample
from spinesearch.training.optim.optimizer import FlatOptimizer
from spinesearch.training.step import train as train_module
from spinesearch.training.step.lean import LeanPass, is_lean

CPU = torch.device("cpu")


@pytest.fixture
def lean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_module, "is_lean", lambda kernels, device: True)


def test_only_a_gpu_is_lean_and_only_if_nothing_is_to_be_plain() -> None:
    found = {
        (name, kernels): is_lean(kernels, torch.device(name))
        for name in ("cpu", "cuda:0")
        for kernels in ("auto", "all", "off")
    }
    assert {key for key, value in found.items() if value} == {("cuda:0", "auto"), ("cuda:0", "all")}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_a_lean_training_is_the_plain_one(optimizer: str, precision: str, monkeypatch) -> None:
    settings = replace(SETTINGS, optimizer=optimizer, precision=precision)
    plain = run(settings)
    monkeypatch.setattr(train_module, "is_lean", lambda kernels, device: True)
    assert_same(run(settings), plain)
    assert int(plain[1]["norm.num_batches_tracked"]) == len(FEW)


class Gained(Cells):
    """With an array of its own that no layer casts, for instance a user's block."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((6, 1, 1), 1.01))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(images * self.gain[:3] + self.gain[3:])


@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_what_autocast_does_not_cast_is_not_cast(optimizer: str, monkeypatch) -> None:
    settings = replace(SETTINGS, optimizer=optimizer, precision="bfloat16")
    found = []
    for lean_too in (False, True):
        monkeypatch.setattr(train_module, "is_lean", lambda kernels, device, lean_too=lean_too: lean_too)
        torch.manual_seed(4)
        found.append(run(settings, model=Gained()))
    assert_same(*found)
    assert not torch.equal(found[0][1]["gain"], Gained().gain)


@pytest.mark.usefixtures("lean")
@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_it_is_captured_as_it_is_done(optimizer: str, monkeypatch) -> None:
    monkeypatch.setattr(train_module, "FlatOptimizer", partial(FlatOptimizer, is_capturable=True))
    settings = replace(SETTINGS, optimizer=optimizer, precision="bfloat16")
    assert_same(run(settings, Sessions()), run(settings))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_kernels_that_serve_several_levels_get_the_gradient_they_had(precision: str, monkeypatch) -> None:
    """The head's do, five times each; what no output depends on has none, and stays where it is."""
    for module in (layers, resample):  # the rewrites of the CPU run on no GPU
        monkeypatch.setattr(module, "can_rewrite", lambda *args: False)
    images = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(3))
    recipe = replace(SETTINGS, optimizer="sgd", precision=precision).recipe(0)
    found = []
    for lean_too in (False, True):
        model = tiny_detector().train()
        model.unused = nn.Conv2d(3, 3, 3)
        optimizer = FlatOptimizer(model, recipe)
        lean = LeanPass(model, optimizer, precision)
        for _ in range(2):
            with torch.autocast("cpu", torch.bfloat16, precision == "bfloat16", cache_enabled=True):
                if lean_too:
                    with lean():
                        out = model(images)
                else:
                    out = model(images)
            (out[0].float().square().mean() + out[1].float().square().mean()).backward()
            norm = optimizer.step()
            assert all(p.grad is None for p in model.parameters())
        found.append(([float(norm)], model.state_dict()))
    assert_same(*found)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_network_without_normalisation_is_passed_too(precision: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(16, 2))
    optimizer = FlatOptimizer(model, replace(SETTINGS, optimizer="sgd", precision=precision).recipe(0))
    with (
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"),
        LeanPass(model, optimizer, precision)(),
    ):
        loss = model(torch.rand(2, 3, 2, 2)).sum()
    loss.backward()
    assert float(optimizer.step()) > 0


def test_after_a_pass_that_fails_the_model_is_as_it_was() -> None:
    model = Cells().train()
    optimizer = FlatOptimizer(model, replace(SETTINGS, precision="bfloat16").recipe(0))
    before = dict(model.state_dict(keep_vars=True))
    lean = LeanPass(model, optimizer, "bfloat16")

    def fail() -> None:
        with lean():
            assert model.conv.weight.dtype == torch.bfloat16
            assert model.norm.num_batches_tracked is None
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    after = model.state_dict(keep_vars=True)
    assert after.keys() == before.keys()
    assert all(value is after[name] for name, value in before.items())
    assert int(model.norm.num_batches_tracked) == 0
