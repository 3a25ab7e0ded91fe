"""`ExpandNorm` and `expand_norm` against a convolution and batch normalisation one after the other."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from spinesearch.models.layers import ConvNorm, LayerStyle, resize_nearest
from spinesearch.models.pointwise import ExpandNorm, conv_norms, expand_norm

EPS = 1e-4


def plain(x: Tensor, kernel: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    out = F.conv2d(x, kernel[:, :, None, None])
    return F.batch_norm(out, None, None, gamma, beta, True, 0.0, EPS)


def inputs(batch: int, n: int, m: int, height: int, width: int) -> list[Tensor]:
    """An image whose channels differ in mean and spread, a kernel, gammas of both signs and a zero, betas."""
    torch.manual_seed(0)
    x = (
        torch.randn(batch, n, height, width, dtype=torch.float64)
        * torch.rand(n, 1, 1, dtype=torch.float64)
        * 3
    )
    x += torch.randn(n, 1, 1, dtype=torch.float64)
    gamma = torch.linspace(-1.5, 1.5, m, dtype=torch.float64)
    gamma[m // 2] = 0.0
    return [x, torch.randn(m, n, dtype=torch.float64), gamma, torch.randn(m, dtype=torch.float64)]


def in_order(x: Tensor, order: str) -> Tensor:
    match order:
        case "channels last":
            return x.contiguous(memory_format=torch.channels_last)
        case "channels first":
            return x.contiguous()
        case "every other column":
            return x.repeat_interleave(2, 3)[..., ::2]
    return x.transpose(2, 3).contiguous().transpose(2, 3)


def assert_same_function(tensors: list[Tensor], rtol: float) -> None:
    """Output and all gradients, each within `rtol` of the largest value of its plain form's."""
    results = []
    for function in (lambda *args: ExpandNorm.apply(*args, EPS)[0], plain):
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        out = function(*leaves)
        generator = torch.Generator().manual_seed(1)
        (out * torch.randn(out.shape, generator=generator, dtype=out.dtype)).sum().backward()
        results.append([out.detach(), *(leaf.grad for leaf in leaves)])
    for name, got, want in zip(("output", "x", "kernel", "gamma", "beta"), *results, strict=True):
        error = float((got - want).abs().max() / want.abs().max())
        assert error <= rtol, f"{name}: {error}"


@pytest.mark.parametrize("order", ["channels last", "channels first", "every other column", "transposed"])
@pytest.mark.parametrize(
    "shape",
    [(2, 3, 7, 4, 5), (1, 4, 8, 6, 6), (9, 2, 8, 1, 1), (2, 5, 5, 3, 1), (3, 8, 2, 4, 4), (2, 1, 3, 2, 2)],
)
def test_outputs_and_gradients_are_those_of_the_two_operations(shape: tuple[int, ...], order: str) -> None:
    x, *others = inputs(*shape)
    # Mostly 1e-15; the scale of a kernel that sees one channel is idle, and its gradient a difference.
    assert_same_function([in_order(x, order), *others], rtol=1e-9)


def test_first_and_second_derivatives_are_those_of_finite_differences() -> None:
    tensors = [tensor.requires_grad_() for tensor in inputs(2, 2, 4, 2, 3)]
    assert torch.autograd.gradcheck(lambda *args: ExpandNorm.apply(*args, EPS)[0], tensors)
    assert torch.autograd.gradgradcheck(lambda *args: ExpandNorm.apply(*args, EPS)[0], tensors)


def test_second_derivatives_are_those_of_the_two_operations() -> None:
    results = []
    for function in (lambda *args: ExpandNorm.apply(*args, EPS)[0], plain):
        leaves = [tensor.requires_grad_() for tensor in inputs(2, 3, 7, 4, 5)]
        gradients = torch.autograd.grad(function(*leaves).pow(3).sum(), leaves, create_graph=True)
        penalty = torch.stack([gradient.square().sum() for gradient in gradients]).sum()
        results.append([*gradients, *torch.autograd.grad(penalty, leaves)])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-9 * float(want.detach().abs().max()))


def test_statistics_are_those_of_the_batch() -> None:
    x, kernel, gamma, beta = inputs(3, 4, 9, 5, 7)
    _, mean, variance = ExpandNorm.apply(x, kernel, gamma, beta, EPS)
    out = F.conv2d(x, kernel[:, :, None, None])
    torch.testing.assert_close(mean, out.mean((0, 2, 3)))
    torch.testing.assert_close(variance, out.var((0, 2, 3), correction=0))


def test_a_constant_channel_has_no_variance() -> None:
    """An output that reads it alone is beta, and eps bounds its gradient."""
    x, kernel, gamma, beta = inputs(2, 3, 6, 4, 4)
    x[:, 0] = 1e3
    kernel[1] = torch.tensor([2.0, 0.0, 0.0])
    out, _, variance = ExpandNorm.apply(x, kernel, gamma, beta, EPS)
    assert float(variance[1]) == 0.0
    assert torch.equal(out[:, 1], beta[1].expand(2, 4, 4))
    # The plain form takes the mean of 2000s, whose rounding eps leaves a hundred times as large.
    assert_same_function([x, kernel, gamma, beta], rtol=1e-9)


def test_a_mean_of_a_hundred_spreads_costs_float32_no_more_than_batch_norm_on_channels_last() -> None:
    """Measured 4e-5 of the largest output, between PyTorch's own 1e-5 on NCHW and 2e-4 on channels last."""
    x, *others = inputs(4, 16, 64, 64, 64)
    single = [(torch.randn_like(x) + 100.0).float(), *(tensor.float() for tensor in others)]
    want = plain(*(tensor.double() for tensor in single))
    error = float((ExpandNorm.apply(*single, EPS)[0] - want).abs().max() / want.abs().max())
    assert error < 2e-4


@pytest.mark.parametrize(
    ("size", "target"), [((3, 4), (6, 8)), ((2, 2), (6, 10)), ((1, 1), (4, 4)), ((3, 2), (3, 6))]
)
def test_upsampling_after_the_layer_is_upsampling_before_it(
    size: tuple[int, int], target: tuple[int, int]
) -> None:
    """The running variance too, which counts the pixels after it."""
    layer = ConvNorm(3, 8, 1, style=LayerStyle(bn_momentum=0.25), activate=False).double()
    before, after = copy.deepcopy(layer), layer
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    for _ in range(3):
        want = before.norm(before.conv(resize_nearest(x, target)))
        got = resize_nearest(expand_norm(x, after, size=target), target)
        torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    assert int(after.norm.num_batches_tracked) == 3
    torch.testing.assert_close(after.state_dict(), before.state_dict(), rtol=1e-12, atol=1e-12)


def test_the_same_twice_and_alike_on_two_threads() -> None:
    layers = [ConvNorm(16, m, 1, style=LayerStyle()).double() for m in (8, 48)]
    x = in_order(inputs(4, 16, 1, 32, 32)[0], "channels last").requires_grad_()
    threads, results = torch.get_num_threads(), []
    try:
        for num_threads in (1, 1, 2, 2):
            torch.set_num_threads(num_threads)
            fresh = copy.deepcopy(layers)
            features = [*conv_norms(x, fresh), expand_norm(x, fresh[1], size=(64, 64))]
            leaves = [x, *(parameter for layer in fresh for parameter in layer.parameters())]
            total = torch.stack([feature.square().sum() for feature in features]).sum()
            states = [tensor for layer in fresh for tensor in layer.state_dict().values()]
            results.append([*features, *torch.autograd.grad(total, leaves), *states])
    finally:
        torch.set_num_threads(threads)
    for one, again, two, two_again in zip(*results, strict=True):
        assert torch.equal(one, again)
        assert torch.equal(two, two_again)
        torch.testing.assert_close(two, one, rtol=1e-9, atol=1e-9)
