import pytest
import torch
from torch import nn

from spinesearch.models.blocks import BLOCKS, Bottleneck, Residual, block_out_channels, build_repeats
from spinesearch.models.layers import ConvNorm, LayerStyle, StochasticDepth
from spinesearch.space import BLOCK_TYPES

STYLE = LayerStyle()


def test_every_block_type_of_a_spec_can_be_built() -> None:
    assert tuple(BLOCKS) == BLOCK_TYPES


@pytest.mark.parametrize(("block_type", "out_channels"), [("bottleneck", 32), ("residual", 8), ("mbconv", 8)])
def test_output_width(block_type: str, out_channels: int) -> None:
    assert block_out_channels(block_type, 8) == out_channels
    block = BLOCKS[block_type](6, 8, style=STYLE, stride=2).eval()
    assert block(torch.rand(2, 6, 7, 10)).shape == (2, out_channels, 4, 5)


@pytest.mark.parametrize(
    ("block", "in_channels", "stride", "projects"),
    [
        (Bottleneck, 32, 1, False),
        (Bottleneck, 8, 1, True),
        (Bottleneck, 32, 2, True),
        (Residual, 8, 1, False),
        (Residual, 32, 1, True),
        (Residual, 8, 2, True),
    ],
)
def test_projection_only_where_the_shape_changes(
    block: type[Bottleneck] | type[Residual], in_channels: int, stride: int, projects: bool
) -> None:
    shortcut = block(in_channels, 8, style=STYLE, stride=stride).shortcut
    assert isinstance(shortcut, ConvNorm if projects else nn.Identity)


def after_the_sum(block_type: str, x: torch.Tensor) -> torch.Tensor:
    """What a block makes of the sum of branch and shortcut."""
    return x if block_type == "mbconv" else x.relu()


@pytest.mark.parametrize("block_type", BLOCK_TYPES)
def test_a_silenced_branch_leaves_the_shortcut(block_type: str) -> None:
    block = BLOCKS[block_type](block_out_channels(block_type, 4), 4, style=STYLE).eval()
    last = [layer for layer in block.branch if isinstance(layer, ConvNorm)][-1]
    nn.init.zeros_(last.norm.weight)
    x = torch.randn(2, block_out_channels(block_type, 4), 5, 5)
    torch.testing.assert_close(block(x), after_the_sum(block_type, x))


@pytest.mark.parametrize("block_type", BLOCK_TYPES)
def test_the_branch_ends_without_activation(block_type: str) -> None:
    block = BLOCKS[block_type](block_out_channels(block_type, 4), 4, style=STYLE).eval()
    branch = block.branch(torch.randn(2, block_out_channels(block_type, 4), 8, 8))
    assert bool((branch < 0).any())


@pytest.mark.parametrize("block_type", BLOCK_TYPES)
def test_a_dropped_branch_leaves_the_shortcut(block_type: str) -> None:
    torch.manual_seed(0)
    channels = block_out_channels(block_type, 4)
    block = BLOCKS[block_type](channels, 4, style=STYLE, stochastic_depth_rate=0.5).train()
    x = torch.randn(64, channels, 4, 4)
    untouched = (block(x) == after_the_sum(block_type, x)).flatten(1).all(1)
    assert 0 < int(untouched.sum()) < 64


def test_only_the_first_repeat_projects_and_strides() -> None:
    chain = build_repeats(
        "bottleneck", 6, 4, repeats=3, style=STYLE, stride=2, stochastic_depth_rate=0.25
    ).eval()
    assert [isinstance(block.shortcut, nn.Identity) for block in chain] == [False, True, True]
    assert chain(torch.rand(1, 6, 9, 9)).shape == (1, 16, 5, 5)
    rates = [module.rate for module in chain.modules() if isinstance(module, StochasticDepth)]
    assert rates == [0.25] * 3
