import math

import pytest
import torch
from torch import nn

from spinesearch.models.layers import ConvNorm, LayerStyle, StochasticDepth, depthwise_glorot_
from spinesearch.models.mbconv import DepthwiseResample, MBConv, SqueezeExcitation

STYLE = LayerStyle(activation="swish")


def test_convolutions_of_a_block() -> None:
    convs = [m for m in MBConv(10, 7, style=STYLE, stride=2).modules() if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0], c.groups) for c in convs] == [
        (10, 60, 1, 1, 1),
        (60, 60, 3, 2, 60),
        (60, 2, 1, 1, 1),  # a fifth of the block's input, not of the expanded one
        (2, 60, 1, 1, 1),
        (60, 7, 1, 1, 1),
    ]
    assert [c.bias is not None for c in convs] == [False, False, True, True, False]


@pytest.mark.parametrize(("in_channels", "squeezed"), [(3, 1), (4, 1), (10, 2), (14, 2), (112, 22)])
def test_width_of_the_squeeze_is_truncated_and_at_least_one(in_channels: int, squeezed: int) -> None:
    excitation = MBConv(in_channels, 8, style=STYLE).branch[2]
    assert isinstance(excitation, SqueezeExcitation)
    assert excitation.reduce.out_channels == squeezed


@pytest.mark.parametrize(("in_channels", "stride", "added"), [(8, 1, True), (6, 1, False), (8, 2, False)])
def test_the_input_is_added_only_where_the_shape_stays(in_channels: int, stride: int, added: bool) -> None:
    block = MBConv(in_channels, 8, style=STYLE, stride=stride, stochastic_depth_rate=0.5).eval()
    nn.init.zeros_(block.branch[3].norm.weight)
    x = torch.randn(1, in_channels, 6, 6)
    want = x if added else torch.zeros(1, 8, 6 // stride, 6 // stride)
    assert torch.equal(block(x), want)
    # A branch that stands alone is never dropped.
    assert isinstance(block.branch[4], StochasticDepth)
    assert block.branch[4].rate == (0.5 if added else 0.0)


def test_squeeze_excitation_by_hand() -> None:
    layer = SqueezeExcitation(2, 1, compat="v1")
    with torch.no_grad():
        layer.reduce.weight.copy_(torch.tensor([1.0, -2.0]).view(1, 2, 1, 1))
        layer.reduce.bias.fill_(0.5)
        layer.expand.weight.copy_(torch.tensor([3.0, -1.0]).view(2, 1, 1, 1))
        layer.expand.bias.copy_(torch.tensor([0.0, 1.0]))
        x = torch.tensor([[[1.0, 3.0]], [[0.0, 1.0]]]).view(1, 2, 1, 2)  # means 2 and 0.5
        out = layer(x)
    squeezed = 1.5 / (1.0 + math.exp(-1.5))  # swish of 2 - 2 * 0.5 + 0.5
    gates = [1.0 / (1.0 + math.exp(-3.0 * squeezed)), 1.0 / (1.0 + math.exp(squeezed - 1.0))]
    torch.testing.assert_close(out.flatten(), torch.tensor([gates[0], 3.0 * gates[0], 0.0, gates[1]]))


@pytest.mark.parametrize("num_down", [0, 1, 2, 5])
def test_one_depthwise_step_for_each_level_down(num_down: int) -> None:
    resample = DepthwiseResample(6, 9, num_down=num_down, style=STYLE).eval()
    assert len(resample.down) == num_down
    for step in resample.down:
        assert step.conv.groups == 6
        assert isinstance(step.activation, nn.SiLU)
    assert isinstance(resample.expand.activation, nn.Identity)
    for side in (1, 7, 33, 64):
        small = math.ceil(side / 2**num_down)
        assert resample(torch.rand(1, 6, side, 2 * side), (small, small)).shape == (1, 9, small, small)


def test_going_up_repeats_pixels_before_the_convolution() -> None:
    resample = DepthwiseResample(3, 4, num_down=0, style=STYLE).eval()
    x = torch.randn(2, 3, 2, 3)
    want = resample.expand(x.repeat_interleave(4, dim=2).repeat_interleave(2, dim=3))
    torch.testing.assert_close(resample(x, (8, 6)), want)


def test_a_depthwise_step_is_the_convolution_of_each_channel() -> None:
    layer = ConvNorm(3, 3, 3, stride=2, depthwise=True, activate=False, style=STYLE).eval()
    layer.norm.eps = 0.0
    x = torch.randn(1, 3, 7, 8)
    for c in range(3):
        want = nn.functional.conv2d(x[:, c : c + 1], layer.conv.weight[c : c + 1], stride=2, padding=1)
        torch.testing.assert_close(layer(x)[:, c : c + 1], want)


def test_depthwise_initial_values_are_those_of_glorot_over_all_channels() -> None:
    torch.manual_seed(0)
    weight = torch.empty(2000, 1, 3, 3)
    depthwise_glorot_(weight)
    limit = math.sqrt(6.0 / (9 * 2000 + 9))  # fan-in of [3, 3, 2000, 1] as TensorFlow counts it, and fan-out
    assert float(weight.abs().max()) <= limit
    # 18,000 uniform draws: the relative standard error of the deviation is 0.3 %.
    assert float(weight.std()) == pytest.approx(limit / math.sqrt(3.0), rel=0.02)
