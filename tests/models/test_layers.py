import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from spinesearch.models.layers import (
    ConvNorm,
    LayerStyle,
    StochasticDepth,
    build_activation,
    max_pool_same,
    resize_nearest,
    variance_scaling_,
)


def test_activations_are_relu_and_x_times_sigmoid() -> None:
    x = torch.tensor([-2.0, -0.5, 0.0, 1.5])
    torch.testing.assert_close(build_activation("relu")(x.clone()), torch.tensor([0.0, 0.0, 0.0, 1.5]))
    torch.testing.assert_close(build_activation("swish")(x), x * torch.sigmoid(x))


def test_unknown_activation_names_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="activation: expected one of relu, swish, hard_swish, got 'gelu'"):
        build_activation("gelu")


# One row of pixels; what TensorFlow's SAME padding lets each window see is worked out by hand.
@pytest.mark.parametrize(
    ("row", "kernel_size", "stride", "pooled"),
    [
        ([1, 2, 3, 4], 3, 2, [3, 4]),  # even: nothing before, one pixel after
        ([9, 1, 2, 3, 8, 1], 3, 2, [9, 8, 8]),
        ([5, 1, 2, 1, 4], 3, 2, [5, 2, 4]),  # odd: one pixel on either side
        ([-5, -1], 3, 1, [-1, -1]),
        ([-3, -7, -5, -9], 3, 2, [-3, -5]),  # a padded pixel never wins
        ([1, 2, 3, 4, 9, 1, 1, 2], 5, 4, [9, 9]),
        ([7, 1, 2, 3, 8, 1], 5, 2, [7, 8, 8]),  # odd padding in all: one before, two after
        ([1, 2, 3, 4, 5, 9, 9, 9, 1, 2, 0, 0, 0, 9, 9, 9], 5, 8, [5, 2]),  # a stride beyond the kernel skips
        ([4], 3, 2, [4]),
    ],
)
def test_max_pool_same_against_a_table(
    row: list[int], kernel_size: int, stride: int, pooled: list[int]
) -> None:
    x = torch.tensor(row, dtype=torch.float32)
    want = torch.tensor(pooled, dtype=torch.float32)
    along_width = max_pool_same(x[None, None, None, :], (1, kernel_size), (1, stride))
    along_height = max_pool_same(x[None, None, :, None], (kernel_size, 1), (stride, 1))
    assert torch.equal(along_width[0, 0, 0], want)
    assert torch.equal(along_height[0, 0, :, 0], want)


def padded_max_pool(x: Tensor, kernel_size: int, stride: int) -> Tensor:
    """The definition: pad by minus infinity as TensorFlow does, then pool without padding."""
    pad: list[int] = []
    for side in reversed(x.shape[-2:]):
        total = max((math.ceil(side / stride) - 1) * stride + kernel_size - side, 0)
        pad += [total // 2, total - total // 2]
    return F.max_pool2d(F.pad(x, pad, value=-math.inf), kernel_size, stride)


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3, 4, 8, 16])
def test_max_pool_same_is_padding_by_minus_infinity(kernel_size: int, stride: int) -> None:
    for height in range(1, 20):
        x = -torch.rand(1, 2, height, 23 - height)
        pooled = max_pool_same(x, (kernel_size, kernel_size), (stride, stride))
        assert torch.equal(pooled, padded_max_pool(x, kernel_size, stride))


def test_max_pool_same_is_not_the_symmetric_pool() -> None:
    x = torch.arange(64.0).view(1, 1, 8, 8)
    same, symmetric = max_pool_same(x, (3, 3), (2, 2)), F.max_pool2d(x, 3, 2, padding=1)
    assert same.shape == symmetric.shape
    assert not torch.equal(same, symmetric)
    odd = torch.rand(1, 1, 9, 9)
    assert torch.equal(max_pool_same(odd, (3, 3), (2, 2)), F.max_pool2d(odd, 3, 2, padding=1))


def test_resize_nearest_reads_the_exact_source_pixel() -> None:
    for side in range(1, 25):
        x = torch.arange(side * 3.0).view(1, 1, side, 3)
        for target in range(1, 65):
            rows = [i * side // target for i in range(target)]
            columns = [0, 0, 1, 1, 2, 2]
            assert torch.equal(resize_nearest(x, (target, 6))[0, 0], x[0, 0][rows][:, columns])


def test_resize_nearest_passes_gradients_to_the_pixels_read() -> None:
    x = torch.rand(1, 1, 3, 2, requires_grad=True)
    resize_nearest(x, (5, 4)).sum().backward()
    # Rows 0, 0, 1, 1, 2 and columns 0, 0, 1, 1 are read.
    assert torch.equal(x.grad[0, 0], torch.tensor([[4.0, 4.0], [4.0, 4.0], [2.0, 2.0]]))


def test_conv_norm_gives_ceil_sizes_and_has_no_bias() -> None:
    for side in range(1, 12):
        for kernel_size in (1, 3, 7):
            layer = ConvNorm(3, 4, kernel_size, stride=2, style=LayerStyle()).eval()
            assert layer.conv.bias is None
            assert layer(torch.rand(2, 3, side, side + 1)).shape == (
                2,
                4,
                math.ceil(side / 2),
                math.ceil((side + 1) / 2),
            )


def test_running_statistics_move_by_the_momentum() -> None:
    norm = LayerStyle(bn_momentum=0.003, bn_eps=1e-4).build_norm(1)
    norm(torch.tensor([[[[1.0, 3.0]]]]))
    # Mean 2 and, unbiased, variance 2, after 0 and 1.
    torch.testing.assert_close(norm.running_mean, torch.tensor([0.006]))
    torch.testing.assert_close(norm.running_var, torch.tensor([0.997 + 0.006]))
    assert norm.eps == 1e-4


def test_variance_scaling_has_the_fan_in_variance_and_no_tail() -> None:
    torch.manual_seed(0)
    weight = torch.empty(256, 64, 3, 3)
    variance_scaling_(weight)
    fan_in = 64 * 3 * 3
    # 147,456 draws: the relative standard error of the deviation is 0.2 %.
    assert float(weight.std()) * math.sqrt(fan_in) == pytest.approx(1.0, rel=0.01)
    assert abs(float(weight.mean())) * math.sqrt(fan_in) < 0.01
    assert float(weight.abs().max()) * math.sqrt(fan_in) <= 2.0 / 0.8796


def test_stochastic_depth_is_the_identity_in_eval() -> None:
    x = torch.rand(3, 2, 4, 4)
    assert StochasticDepth(0.5).eval()(x) is x
    assert StochasticDepth(0.0).train()(x) is x


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_stochastic_depth_drops_whole_samples_at_the_rate(rate: float) -> None:
    torch.manual_seed(0)
    num_samples = 10_000
    out = StochasticDepth(rate).train()(torch.ones(num_samples, 2, 1, 2))
    per_sample = out.flatten(1)
    assert torch.equal(per_sample.amin(1), per_sample.amax(1))
    dropped = per_sample[:, 0] == 0
    torch.testing.assert_close(per_sample[~dropped], torch.full_like(per_sample[~dropped], 1 / (1 - rate)))
    # Five standard deviations of the binomial: fails once in 1.7 million seeds.
    sigma = math.sqrt(rate * (1 - rate) / num_samples)
    assert abs(float(dropped.float().mean()) - rate) < 5 * sigma


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_stochastic_depth_refuses_a_rate_out_of_range(rate: float) -> None:
    with pytest.raises(ValueError, match=f"at least 0 and below 1, got {rate}"):
        StochasticDepth(rate)


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_stochastic_depth_rescales_by_a_number_that_bfloat16_does_not_round(rate: float) -> None:
    """1 / 0.9 is 1.1111, of which bfloat16 makes 1.1094: every kept branch would be too small by 0.2 %."""
    torch.manual_seed(0)
    x = torch.randn(64, 4, 2, 2)
    layer = StochasticDepth(rate).train()
    torch.manual_seed(1)
    keep = x.new_empty((64, 1, 1, 1)).bernoulli_(1.0 - rate)
    torch.manual_seed(1)
    assert torch.equal(layer(x), x * (keep / (1.0 - rate)))
    half = x.bfloat16().requires_grad_()
    torch.manual_seed(2)
    keep = half.detach().new_empty((64, 1, 1, 1)).bernoulli_(1.0 - rate).double()
    torch.manual_seed(2)
    out = layer(half)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, (half.detach().double() * keep / (1.0 - rate)).bfloat16())
    (grad,) = torch.autograd.grad(out.sum(), half)
    assert torch.equal(grad, (keep / (1.0 - rate)).bfloat16().expand_as(grad))
