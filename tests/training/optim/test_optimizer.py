from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.training.optim.optimizer import FlatOptimizer, learning_rate

COSINE = ProxySettings(num_steps=8, lr=0.4, warmup_steps=4, schedule="cosine")
STEP = ProxySettings(num_steps=10, lr=1.0, warmup_steps=2, schedule="step", decay_at=(0.5, 0.8))


class Net(nn.Module):
    """Every kind of parameter, one of them unused."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 4, 3)
        self.unused = nn.Conv2d(4, 4, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.conv(self.norm(x))
        return out


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_kernels_stay_channels_last_and_what_they_are(name: str) -> None:
    net = Net().to(memory_format=torch.channels_last)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    FlatOptimizer(net, ProxySettings(num_steps=5, optimizer=name).recipe(0))
    assert net.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def loss_of(model: nn.Module, step: int) -> torch.Tensor:
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))
    out: torch.Tensor = model(x)
    return (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum() + (out**3).mean()


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_equals_torchs_optimizer_on_the_separate_parameters(name: str) -> None:
    settings = ProxySettings(num_steps=5, optimizer=name, lr=0.05, weight_decay=0.1, clip_norm=2.0)
    torch.manual_seed(0)
    flat, plain = Net(), Net()
    plain.load_state_dict(flat.state_dict())
    optimizer = FlatOptimizer(flat, settings.recipe(0))
    decay = 0.1 if name == "adamw" else 0.0  # SGD's is in the gradient that is clipped
    groups = [
        {"params": [plain.conv.weight, plain.unused.weight], "weight_decay": decay},
        {"params": [plain.conv.bias, plain.norm.weight, plain.norm.bias], "weight_decay": 0.0},
    ]
    reference: torch.optim.Optimizer
    if name == "sgd":
        reference = torch.optim.SGD(groups, lr=0.05, momentum=0.9)
    else:
        reference = torch.optim.AdamW(groups, lr=0.05)
    for step in range(5):
        loss_of(flat, step).backward()
        optimizer.set_lr(0.05 / (step + 1))
        norm = optimizer.step()
        loss_of(plain, step).backward()
        plain.unused.weight.grad = torch.zeros_like(plain.unused.weight)
        if name == "sgd":
            for kernel in (plain.conv.weight, plain.unused.weight):
                kernel.grad += 0.1 * kernel.detach()
        for group in reference.param_groups:
            group["lr"] = 0.05 / (step + 1)
        assert_close(norm, nn.utils.clip_grad_norm_(plain.parameters(), 2.0))
        assert norm > 2.0  # the clipping counts
        reference.step()
        reference.zero_grad()
    for (key, got), want in zip(flat.named_parameters(), plain.parameters(), strict=True):
        assert_close(got, want, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_only_kernels_decay(name: str) -> None:
    model = Net()
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    settings = ProxySettings(num_steps=1, optimizer=name, weight_decay=0.5)
    optimizer = FlatOptimizer(model, settings.recipe(0))
    sum(0 * p.sum() for p in model.parameters()).backward()
    optimizer.set_lr(0.1)
    optimizer.step()
    for key, p in model.named_parameters():
        factor = 0.95 if key in ("conv.weight", "unused.weight") else 1.0
        assert_close(p.detach(), before[key] * factor)


def test_the_model_keeps_its_values_and_shapes() -> None:
    model = Net()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    FlatOptimizer(model, COSINE.recipe(0))
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_cosine_typed_out() -> None:
    # (1 + cos(pi * k / 4)) / 2 for k = 0..3
    expected = [0.1, 0.2, 0.3, 0.4, 0.4, 0.4 * 0.853553391, 0.4 * 0.5, 0.4 * 0.146446609]
    assert [learning_rate(s, COSINE.recipe(0)) for s in range(8)] == pytest.approx(expected)


def test_step_typed_out() -> None:
    expected = [0.5, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.01, 0.01]
    assert [learning_rate(s, STEP.recipe(0)) for s in range(10)] == pytest.approx(expected)


def test_no_warmup_and_a_warmup_longer_than_training() -> None:
    assert learning_rate(0, replace(COSINE, num_steps=4, warmup_steps=0).recipe(0)) == pytest.approx(0.4)
    long = replace(COSINE, warmup_steps=100)
    assert learning_rate(3, long.recipe(0)) == pytest.approx(0.4 * 4 / 100)


def test_muon_takes_the_kernels_that_are_normalised() -> None:
    torch.manual_seed(0)
    model = nn.Module()
    model.hidden = Net()
    model.predict = nn.Conv2d(4, 2, 1)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    settings = ProxySettings(num_steps=1, optimizer="muon", lr=0.1, adam_lr=0.01, weight_decay=0.0)
    loss = loss_of(nn.Sequential(model.hidden, model.predict), 0)
    optimizer = FlatOptimizer(model, settings.recipe(0))
    loss.backward()
    optimizer.set_lr(0.05)
    optimizer.step()
    change = {key: (p.detach() - before[key]) for key, p in model.named_parameters()}
    # Half of lr, so half of adam_lr: AdamW's first step is its learning rate in every entry.
    for key in ("hidden.norm.weight", "hidden.conv.bias", "predict.weight", "predict.bias"):
        assert_close(change[key].abs(), torch.full_like(change[key], 0.005), rtol=1e-3, atol=0)
    conv = change["hidden.conv.weight"].flatten(1)
    assert 0.0325 < torch.linalg.matrix_norm(conv, ord=2) < 0.0625  # lr times a singular value near 1
    assert (change["hidden.unused.weight"] == 0).all()
