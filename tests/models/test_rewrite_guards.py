"""When a rewrite must not be taken, and what it must leave as it is."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from plain_backbone import PlainBackbone
from tiny_models import NARROW, TINY, assert_same_state
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils.flop_counter import FlopCounterMode

from spinesearch.models import fusion, layers, resample
from spinesearch.models.backbone import ScalePermutedBackbone, build_backbone
from spinesearch.models.cost import count_multiply_adds

IMAGES = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def no_rewrite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every rewrite an error."""

    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError("a rewrite was taken")

    for module, name in ((layers, "conv_norms"), (fusion, "conv_norms"), (resample, "expand_norm")):
        monkeypatch.setattr(module, name, fail)


def tiny(**kwargs: object) -> ScalePermutedBackbone:
    torch.manual_seed(0)
    network = build_backbone(TINY, **NARROW, **kwargs)
    assert isinstance(network, ScalePermutedBackbone)
    return network


def test_the_fixture_catches_a_rewrite(no_rewrite: None) -> None:
    with pytest.raises(AssertionError, match="a rewrite was taken"):
        tiny()(IMAGES)


@pytest.mark.parametrize("training", [True, False])
def test_no_rewrite_in_half_precision(training: bool, no_rewrite: None) -> None:
    network = tiny().train(training)
    with torch.autocast("cpu", torch.bfloat16):
        network(IMAGES)
        network.endpoints["3"](torch.rand(2, network.block_channels[2], 8, 8))
    network.bfloat16()(IMAGES.bfloat16())


@pytest.mark.parametrize("training", [True, False])
def test_no_rewrite_off_the_cpu(training: bool, no_rewrite: None) -> None:
    tiny().train(training).to("meta")(IMAGES.to("meta"))


def test_no_rewrite_in_an_exported_or_compiled_network(no_rewrite: None) -> None:
    network = tiny()
    torch.export.export(network.eval(), (IMAGES,))
    growing = resample.Resample(8, 2, 12, down=False, style=layers.LayerStyle()).train()
    torch.compile(growing, backend="eager", fullgraph=True)(torch.rand(2, 8, 4, 4), (8, 8))


def test_no_rewrite_of_synchronised_norms(no_rewrite: None) -> None:
    ours = tiny().eval()
    want = PlainBackbone(ours)(IMAGES)
    got = nn.SyncBatchNorm.convert_sync_batchnorm(ours)(IMAGES)
    for level, feature in want.items():
        torch.testing.assert_close(got[level], feature, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # PyTorch's own
def test_forward_mode_differentiation_is_that_of_the_plain_form() -> None:
    ours = tiny().double()
    tangents = []
    for network in (ours, PlainBackbone(ours)):
        with forward_ad.dual_level():
            features = network(forward_ad.make_dual(IMAGES.double(), IMAGES.double().flip(3)))
            tangents.append(forward_ad.unpack_dual(features[3]).tangent.detach())
    torch.testing.assert_close(*tangents, rtol=0, atol=1e-9 * float(tangents[1].abs().max()))


@pytest.mark.parametrize("training", [True, False])
def test_counts_of_operations_are_those_of_the_plain_form(training: bool) -> None:
    ours = tiny().train(training)
    plain_network = PlainBackbone(ours)
    want = count_multiply_adds(plain_network, 128)
    assert count_multiply_adds(ours, 128) == want
    for network in (ours, plain_network):  # on the CPU: the counter listens to all modules
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(IMAGES)
        assert counter.get_total_flops() == 2 * want * len(IMAGES)


def hook_into(module: nn.Module, kind: str, calls: list[str]) -> None:
    """Notes that the module ran, by a hook of this kind."""
    match kind:
        case "forward":
            module.register_forward_hook(lambda *_: calls.append(kind))
        case "before":
            module.register_forward_pre_hook(lambda *_: calls.append(kind))
        case "backward":
            module.register_full_backward_hook(lambda *_: calls.append(kind))
        case "before backward":
            module.register_full_backward_pre_hook(lambda *_: calls.append(kind))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("stem_conv", "forward"),
        ("stem_conv.norm", "before"),
        ("blocks.0.0.branch.0.conv", "backward"),
        ("blocks.0.0.branch.0", "before backward"),
        ("blocks.0.0.branch.0.activation", "backward"),
        ("blocks.0.0.branch.2.norm", "forward"),
        ("resamples.0.0", "forward"),
        ("resamples.0.0.squeeze", "before"),
        ("resamples.0.0.squeeze.activation", "forward"),
        ("resamples.2.1.expand", "forward"),
        ("resamples.2.1.expand.conv", "before"),
        ("endpoints.3.norm", "before"),
    ],
)
def test_hooks_are_called_as_in_the_plain_form(name: str, kind: str) -> None:
    counts = []
    # Full backward hooks refuse ReLU in place, in either form.
    activation = "swish" if "backward" in kind else "relu"
    for network in (tiny(activation=activation), PlainBackbone(tiny(activation=activation))):
        calls: list[str] = []
        hook_into(network.get_submodule(name), kind, calls)
        torch.stack([x.sum() for x in network(IMAGES).values()]).sum().backward()
        counts.append(len(calls))
    assert counts == [1, 1]


class Negative(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return -x


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "part",
    ["norm", "not affine", "no statistics", "cumulative", "conv", "activation", "bias", "parametrized"],
)
def test_replaced_parts_do_their_work(part: str, training: bool) -> None:
    ours = tiny().double().train(training)
    plain_network = PlainBackbone(ours)
    for network in (ours, plain_network):
        for name in ("resamples.0.0.squeeze", "resamples.2.1.expand", "endpoints.4"):
            layer = network.get_submodule(name)
            replace(layer, part)
    for level, want in plain_network(IMAGES.double()).items():
        torch.testing.assert_close(ours(IMAGES.double())[level], want, rtol=0, atol=1e-7)


def replace(layer: nn.Module, part: str) -> None:
    channels = layer.norm.num_features
    match part:
        case "norm":
            layer.norm = nn.GroupNorm(1, channels).double()
        case "not affine":
            layer.norm = nn.BatchNorm2d(channels, affine=False).double()
        case "no statistics":
            layer.norm = nn.BatchNorm2d(channels, track_running_stats=False).double()
        case "cumulative":
            layer.norm.momentum = None
        case "conv":
            layer.conv = nn.Sequential(layer.conv, Negative())
        case "activation":
            layer.activation = Negative()
        case "bias":
            layer.conv.bias = nn.Parameter(torch.arange(channels).double())
        case "parametrized":
            nn.utils.parametrize.register_parametrization(layer.conv, "weight", Negative())


# What a rewrite must leave as it is ----------


def outputs(network: nn.Module) -> dict[int, Tensor]:
    with torch.no_grad():
        return network(IMAGES)


@pytest.mark.parametrize("training", [True, False])
def test_copies_pickles_and_states_are_the_same_network(training: bool) -> None:
    network = tiny().train()
    outputs(network)
    network.train(training)
    loaded = build_backbone(TINY, **NARROW).train(training)
    loaded.load_state_dict(network.state_dict())
    copies = [copy.deepcopy(network), pickle.loads(pickle.dumps(network)), loaded]
    want = outputs(network)
    for other in copies:
        got = outputs(other)
        assert all(torch.equal(got[level], want[level]) for level in want)
        assert_same_state(other, network)


def test_an_empty_batch_in_evaluation() -> None:
    network = tiny().eval()
    for level, feature in network(IMAGES[:0]).items():
        assert feature.shape == (0, 8, 128 >> level, 128 >> level)
