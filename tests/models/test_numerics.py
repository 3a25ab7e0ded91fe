"""The same function in other dtypes and memory layouts, within what the dtype can hold."""

import copy

import pytest
import torch
from long_suite import few
from torch import Tensor, nn

from spinesearch.models.backbone import build_backbone

MODELS = {
    "spinenet49": {"filter_size_scale": 0.25, "endpoints_num_filters": 32},
    "spinenet_mobile49": {},
    "resnet50_fpn": {"endpoints_num_filters": 32},
}
# Weights, and every layer's output, are rounded by at most 2**-8 and 2**-11 of their size. With norms that
# scale by about 1 the errors of the layers add up like a random walk that the sums of the network average
# again: 1 to 5 roundings in the root mean square over a feature were seen, 10 are granted, which is 4 % and
# 0.5 %. (Norms that blow up small differences blow up errors too, in any dtype.) In float32 the order of sums
# is all that changes.
TOLERANCE = {torch.bfloat16: 10 * 2.0**-8, torch.float16: 10 * 2.0**-11, torch.float32: 1e-5}


def seasoned(name: str) -> nn.Module:
    """A network whose norms are no identities."""
    torch.manual_seed(0)
    backbone = build_backbone(name, **MODELS[name]).eval()
    for norm in (m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.1)
        nn.init.normal_(norm.running_mean, std=0.1)
    return backbone


def assert_close_in_rms(got: dict[int, Tensor], want: dict[int, Tensor], tolerance: float) -> None:
    for level, feature in want.items():
        assert got[level].shape == feature.shape
        error = (got[level].float() - feature).pow(2).mean().sqrt() / feature.pow(2).mean().sqrt()
        assert float(error) < tolerance, level


@pytest.mark.parametrize("name", few(MODELS, ["spinenet49"]))
@torch.no_grad()
def test_channels_last_and_half_precision_give_the_float32_result(name: str) -> None:
    images = torch.randn(2, 3, 128, 96)
    network = seasoned(name)
    want = network(images)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        for dtype, tolerance in TOLERANCE.items():
            backbone = copy.deepcopy(network).to(dtype=dtype, memory_format=memory_format)
            got = backbone(images.to(dtype=dtype, memory_format=memory_format))
            assert {feature.dtype for feature in got.values()} == {dtype}
            assert_close_in_rms(got, want, tolerance)


@pytest.mark.parametrize("name", few(MODELS, ["spinenet49"]))
@torch.no_grad()
def test_autocast_gives_the_float32_result(name: str) -> None:
    backbone = seasoned(name)
    images = torch.randn(2, 3, 128, 96)
    want = backbone(images)
    with torch.autocast("cpu", torch.bfloat16):
        got = backbone(images)
    assert_close_in_rms(got, want, TOLERANCE[torch.bfloat16])
