import math

import pytest
import torch
import torch.nn.functional as F
from long_suite import few, few_rows
from torch import nn

from spinesearch.models.backbone import build_backbone
from spinesearch.models.blocks import Bottleneck
from spinesearch.models.cost import count_parameters
from spinesearch.models.heads.detector import build_detector
from spinesearch.models.layers import ConvNorm, SameConv2d, StochasticDepth, max_pool_same
from spinesearch.models.resnet_fpn import ResNetFPN
from spinesearch.space import ResNetSpec

LEVELS = (3, 4, 5, 6, 7)


def narrow_pyramid(**kwargs: object) -> ResNetFPN:
    """A ResNet of an eighth of its published widths with a pyramid of a few channels."""
    torch.manual_seed(0)
    widths = {"filter_size_scale": 0.125, "stem_filters": 8, "endpoints_num_filters": 8}
    return ResNetFPN(ResNetSpec(depth=50), **widths, **kwargs).eval()


# Published: 34.0 (section 3 of the reference, 34.09), 53.1 and 68.7 million with a head of 91 classes.
@pytest.mark.parametrize(("depth", "millions"), [(50, 34.09), (101, 53.1), (152, 68.7)])
def test_published_parameters(depth: int, millions: float) -> None:
    with torch.device("meta"):
        detector = build_detector(f"resnet{depth}_fpn", num_classes=91)
    assert count_parameters(detector) / 1e6 == pytest.approx(millions, abs=0.05)


def test_groups_of_bottlenecks() -> None:
    with torch.device("meta"):
        backbone = ResNetFPN(ResNetSpec(depth=101))
    widths = {"2": 64, "3": 128, "4": 256, "5": 512}
    assert [len(group) for group in backbone.groups.values()] == [3, 4, 23, 3]
    for level, group in backbone.groups.items():
        for i, block in enumerate(group):
            assert isinstance(block, Bottleneck)
            conv = block.branch[1].conv
            assert conv.out_channels == widths[level]
            # The 3x3 convolution has the stride, and the first block alone projects.
            assert conv.stride == ((2, 2) if i == 0 and level != "2" else (1, 1))
            assert isinstance(block.shortcut, ConvNorm if i == 0 else nn.Identity)


def test_widths_are_scaled_as_those_of_a_scale_permuted_network() -> None:
    with torch.device("meta"):
        backbone = build_backbone("resnet50_fpn", filter_size_scale=0.13, stem_filters=16)
    assert backbone.stem_conv.conv.out_channels == 16
    convs = [group[0].branch[1].conv.out_channels for group in backbone.groups.values()]
    assert convs == [8, 16, 33, 66]  # 0.13 of 64, 128, 256, 512, rounded down
    assert backbone.laterals["5"].in_channels == 4 * 66


@pytest.mark.parametrize("size", few([(128, 128), (33, 47), (97, 131), (32, 200)], 1))
@torch.no_grad()
def test_features_have_ceil_sizes(size: tuple[int, int]) -> None:
    features = narrow_pyramid()(torch.rand(2, 3, *size))
    assert list(features) == list(LEVELS)
    for level, feature in features.items():
        assert feature.shape == (2, 8, *(math.ceil(side / 2**level) for side in size))


@torch.no_grad()
def test_the_pyramid_step_by_step() -> None:
    backbone = narrow_pyramid()
    for norm in backbone.endpoints.values():
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
    for conv in [*backbone.laterals.values(), *backbone.smooths.values()]:
        nn.init.normal_(conv.bias)
    images = torch.randn(1, 3, 128, 192)
    x = max_pool_same(backbone.stem_conv(images), (3, 3), (2, 2))
    c = {}
    for level, group in backbone.groups.items():
        x = c[level] = group(x)
    m5 = backbone.laterals["5"](c["5"])
    m4 = backbone.laterals["4"](c["4"]) + m5.repeat_interleave(2, 2).repeat_interleave(2, 3)
    m3 = backbone.laterals["3"](c["3"]) + m4.repeat_interleave(2, 2).repeat_interleave(2, 3)
    p = {str(n): backbone.smooths[str(n)](m) for n, m in ((3, m3), (4, m4), (5, m5))}
    # Level 6 is 2 x 3 pixels: SAME pads after an even side (4 x 6 before it) and around an odd one.
    p["6"] = F.conv2d(
        F.pad(p["5"], (0, 1, 0, 1)), backbone.smooths["6"].weight, backbone.smooths["6"].bias, 2
    )
    p["7"] = F.conv2d(
        F.pad(p["6"].relu(), (1, 1, 0, 1)), backbone.smooths["7"].weight, backbone.smooths["7"].bias, 2
    )
    for level, feature in backbone(images).items():
        torch.testing.assert_close(feature, backbone.endpoints[str(level)](p[str(level)]))


@torch.no_grad()
def test_features_end_without_activation() -> None:
    for feature in narrow_pyramid(activation="relu")(torch.randn(1, 3, 128, 128)).values():
        assert bool((feature < 0).any())


@pytest.mark.parametrize(
    ("compat", "activation", "module"),
    few_rows(
        [
            ("v1", "swish", nn.ReLU),
            ("v1", "relu", nn.ReLU),
            ("v2", "swish", nn.SiLU),
            ("v2", "relu", nn.ReLU),
        ],
        1,
    ),
)
def test_activation_before_level_7(compat: str, activation: str, module: type[nn.Module]) -> None:
    assert type(narrow_pyramid(compat=compat, activation=activation).activation) is module


def test_same_convolution_pads_what_tensorflow_pads() -> None:
    conv = SameConv2d(1, 1, 3, stride=2, bias=False)
    nn.init.ones_(conv.weight)
    # Sums of three: an even side sees nothing before and one pixel after, an odd one a pixel on either side.
    row = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])
    assert conv(row[None, None, None, :4]).flatten().tolist() == [7.0, 12.0]
    assert conv(row[None, None, None]).flatten().tolist() == [3.0, 14.0, 24.0]


def test_stochastic_depth_rises_with_the_level() -> None:
    backbone = narrow_pyramid(stochastic_depth_rate=0.2)
    for level, group in backbone.groups.items():
        rates = [m.rate for m in group.modules() if isinstance(m, StochasticDepth)]
        assert rates == pytest.approx([0.2 * int(level) / 5] * len(group))


@pytest.mark.slow
def test_gradients_reach_every_parameter() -> None:
    backbone = narrow_pyramid(activation="swish").double().train()
    features = backbone(torch.randn(3, 3, 128, 128, dtype=torch.float64))
    torch.stack([(x * torch.randn_like(x)).sum() for x in features.values()]).sum().backward()
    for name, parameter in backbone.named_parameters():
        # Biases of the last convolutions are taken out by the norms after them.
        if not (name.startswith("smooths.") and name.endswith(".bias")):
            assert parameter.grad is not None, name
            assert float(parameter.grad.abs().max()) > 0, name


@pytest.mark.parametrize("shape", few([(3, 64, 64), (1, 1, 64, 64), (1, 3, 31, 64), (1, 3, 64, 16)], 1))
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"expected \[B, 3, H, W\].* got \[{', '.join(map(str, shape))}\]"):
        narrow_pyramid()(torch.zeros(shape))


def test_what_a_resnet_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="block_repeats: resnet50_fpn has none to change, got 2"):
        build_backbone("resnet50_fpn", block_repeats=2)
    with pytest.raises(ValueError, match="endpoints_num_filters must be a whole number of at least 1, got 0"):
        build_backbone("resnet50_fpn", endpoints_num_filters=0)
