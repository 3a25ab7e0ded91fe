"""compat="v2": the TensorFlow Model Garden's padding, pooling and constants on the same parameters."""

import runpy
from pathlib import Path

import pytest
import torch
from long_suite import few
from torch import Tensor, nn

from spinesearch.models.backbone import build_backbone
from spinesearch.models.heads.detector import build_detector
from spinesearch.models.layers import ConvNorm, LayerStyle, build_style
from spinesearch.models.mbconv import HardSigmoid, SqueezeExcitation
from spinesearch.models.resample import Resample, halving_pools
from spinesearch.models.weights.tf_weights import load_tf_weights, tf_variables

SEEDED = Path(__file__).parents[2].parent / "shared" / "reference" / "oracles" / "seeded.py"
NARROW = {"filter_size_scale": 0.25, "resample_alpha": 0.25, "endpoints_num_filters": 64}
V2 = build_style("relu", "v2")
# Networks whose widths do not matter; those of the mobile one are small as they are.
SMALL = {
    "spinenet49": {"filter_size_scale": 0.125, "endpoints_num_filters": 8},
    "spinenet_mobile49": {"endpoints_num_filters": 8},
    "resnet50_fpn": {"filter_size_scale": 0.125, "endpoints_num_filters": 8},
}


def impulse_response(layer: ConvNorm, side: int) -> list[int]:
    """Index of the input pixel that each output pixel has under the first tap of its kernel."""
    nn.init.zeros_(layer.conv.weight)
    with torch.no_grad():
        layer.conv.weight[0, 0, 0, 0] = 1.0
    layer.norm.eps = 0.0
    # Pixels count from 100, so that one that is padded reads as 0.
    rows = torch.arange(100.0, 100.0 + side).repeat(side, 1)
    along_width = layer(rows[None, None])[0, 0, -1]
    along_height = layer(rows.T[None, None])[0, 0, :, -1]
    assert torch.equal(along_width, along_height)
    return [int(x) - 100 if x > 0 else -1 for x in along_width]


# Index of the first pixel under each window, -1 for padding; TensorFlow's SAME worked out by hand: on an even
# side a 3x3 kernel of stride 2 pads (0, 1) and a 7x7 one (2, 3), on an odd side (1, 1) and (3, 3).
@pytest.mark.parametrize(
    ("kernel_size", "side", "v1", "v2"),
    [
        (3, 8, [-1, 1, 3, 5], [0, 2, 4, 6]),
        (3, 7, [-1, 1, 3, 5], [-1, 1, 3, 5]),
        (3, 2, [-1], [0]),
        (3, 1, [-1], [-1]),
        (7, 8, [-1, -1, 1, 3], [-1, 0, 2, 4]),
        (7, 9, [-1, -1, 1, 3, 5], [-1, -1, 1, 3, 5]),
        (7, 12, [-1, -1, 1, 3, 5, 7], [-1, 0, 2, 4, 6, 8]),
    ],
)
@pytest.mark.parametrize("depthwise", [False, True])
@torch.no_grad()
def test_where_the_windows_of_a_strided_convolution_stand(
    kernel_size: int, side: int, v1: list[int], v2: list[int], depthwise: bool
) -> None:
    for compat, want in (("v1", v1), ("v2", v2)):
        style = LayerStyle(compat=compat)
        layer = ConvNorm(1, 1, kernel_size, stride=2, depthwise=depthwise, activate=False, style=style).eval()
        assert impulse_response(layer, side) == want, compat


@torch.no_grad()
def test_convolutions_of_stride_1_are_the_same_in_both() -> None:
    for kernel_size in (1, 3):
        v1, v2 = (ConvNorm(2, 3, kernel_size, style=LayerStyle(compat=c)).eval() for c in ("v1", "v2"))
        v2.load_state_dict(v1.state_dict())
        x = torch.rand(1, 2, 6, 7)
        assert torch.equal(v1(x), v2(x))


# Rows pooled by 3 with stride 2 until they are short enough; even sides are padded by one pixel after.
@pytest.mark.parametrize(
    ("row", "target", "want"),
    [
        ([4, 1, 2, 3], 4, [4, 1, 2, 3]),
        ([4, 1, 2, 3], 2, [4, 3]),
        ([4, 1, 2, 3], 1, [4]),
        ([1, 2, 3, 4, 9, 1, 1, 2], 4, [3, 9, 9, 2]),
        ([1, 2, 3, 4, 9, 1, 1, 2], 2, [9, 9]),
        ([1, 2, 3, 4, 9, 1, 1, 2], 1, [9]),
        ([5, 1, 2, 1, 4], 3, [5, 2, 4]),  # odd: one pixel on either side
        ([5, 1, 2, 1, 4], 2, [5, 4]),
        ([1, 1, 1, 1, 1, 1, 1, 9], 2, [1, 9]),  # one pool of 5 and stride 4 would not see it in the second
    ],
)
def test_halving_pools_against_a_table(row: list[int], target: int, want: list[int]) -> None:
    x = torch.tensor(row, dtype=torch.float32)
    assert halving_pools(x.view(1, 1, 1, -1), (1, target)).flatten().tolist() == want
    assert halving_pools(x.view(1, 1, -1, 1), (target, 1)).flatten().tolist() == want


@torch.no_grad()
def test_resampling_halves_once_by_convolution_and_then_by_pools() -> None:
    resample = Resample(4, 2, 6, down=True, style=V2).eval()
    x = torch.randn(1, 4, 32, 20)
    y = resample.down(resample.squeeze(x))
    assert y.shape[-2:] == (16, 10)
    # 16 -> 8 -> 4 rows; 10 -> 5 -> 3 columns, and 5 is odd: one pixel on either side.
    for pad in ((0, 1, 0, 1), (1, 1, 0, 1)):
        y = nn.functional.max_pool2d(nn.functional.pad(y, pad, value=-torch.inf), 3, 2)
    torch.testing.assert_close(resample(x, (4, 3)), resample.expand(y))


def test_hard_sigmoid_is_the_model_gardens() -> None:
    x = torch.tensor([-9.0, -3.0, -1.5, 0.0, 3.0, 9.0])
    # relu6(x + 3) times 0.16667, not a sixth.
    want = torch.tensor([0.0, 0.0, 0.250005, 0.50001, 1.00002, 1.00002])
    torch.testing.assert_close(HardSigmoid()(x), want, rtol=1e-6, atol=0)


@torch.no_grad()
def test_squeeze_excitation_has_relu_inside() -> None:
    layer = SqueezeExcitation(2, 1, compat="v2")
    for parameter in layer.parameters():
        nn.init.ones_(parameter)
    x = torch.tensor([-3.0, 1.0]).view(1, 2, 1, 1)  # 1 - 3 + 1 = -1, relu 0, gate of 0 + 1
    torch.testing.assert_close(layer(x), x * (4.0 * 0.16667))


@pytest.mark.parametrize("name", few(SMALL, ["spinenet49"]))
@torch.no_grad()
def test_both_have_the_same_parameters_and_other_outputs(name: str) -> None:
    v1, v2 = (build_backbone(name, compat=compat, **SMALL[name]).eval() for compat in ("v1", "v2"))
    v2.load_state_dict(v1.state_dict())
    norms = {c: [m for m in b.modules() if isinstance(m, nn.BatchNorm2d)] for c, b in (("1", v1), ("2", v2))}
    assert {(m.eps, m.momentum) for m in norms["1"]} == {(1e-4, 0.003)}
    assert {(m.eps, m.momentum) for m in norms["2"]} == {(1e-3, 0.01)}
    images = torch.randn(1, 3, 128, 128)
    for one, two in zip(v1(images).values(), v2(images).values(), strict=True):
        assert one.shape == two.shape
        assert not torch.allclose(one, two, rtol=0.01, atol=0.01 * float(one.abs().max()))


def test_norms_are_what_is_asked_for_in_backbone_and_head() -> None:
    with torch.device("meta"):
        detector = build_detector("spinenet_mobile49", num_classes=2, compat="v2", bn_eps=1e-5)
    norms = [m for m in detector.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-5, 0.01)}


@pytest.mark.parametrize("name", ["spinenet49", "resnet50_fpn"])
def test_another_compat_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="compat: expected one of v1, v2, got 'v3'"):
        build_backbone(name, compat="v3")
    with pytest.raises(ValueError, match="compat: expected one of v1, v2, got 'v3'"):
        build_detector(name, num_classes=2, compat="v3")


@pytest.mark.parametrize("size", [(33, 47), (128, 192), (100, 64)])
@pytest.mark.parametrize("name", few(SMALL, ["spinenet49"]))
@torch.no_grad()
def test_any_size(name: str, size: tuple[int, int]) -> None:
    features = build_backbone(name, compat="v2", **SMALL[name]).eval()(torch.rand(1, 3, *size))
    for level, feature in features.items():
        assert feature.shape == (1, 8, *(-(-side // 2**level) for side in size))


# Mean, largest value, and largest value in the first and in the last pixel, of P3..P7. Made with the Model
# Garden's own SpineNet (tf-models-official 2.20.0, TensorFlow 2.21; without its output block of level 2) and
# SpineNetMobile, in evaluation mode, at 192 pixels, where level 7 is 2 pixels for the
# 1.5 that halving gives. The variables were what seeded.py gives for their names in the paper's code, the
# input was seeded.py's image.
MODEL_GARDEN = {
    "spinenet49": (
        (0.61379158, 7.9765482, 3.7275777, 5.541791),
        (2.8496528, 19.583382, 11.900703, 14.842796),
        (3.5194726, 34.281326, 26.631483, 22.102816),
        (4.2616546, 37.846077, 27.236074, 27.997101),
        (3.6193323, 33.358253, 30.995525, 31.45857),
    ),
    "spinenet_mobile49": (
        (0.084247624, 1.0298927, 0.81834102, 0.79224193),
        (0.084653801, 1.6042223, 1.3909534, 1.3199029),
        (0.0042711596, 0.96144474, 0.58066303, 0.6196931),
        (0.0049487962, 0.69626403, 0.49191922, 0.59103942),
        (0.0014490156, 0.5383535, 0.42392784, 0.52032769),
    ),
}


def summary(feature: Tensor) -> list[float]:
    first, last = feature[0, :, 0, 0], feature[0, :, -1, -1]
    return [float(x) for x in (feature.double().mean(), feature.max(), first.max(), last.max())]


@pytest.mark.skipif(not SEEDED.is_file(), reason=f"the recipe of the weights is missing: no {SEEDED}")
@pytest.mark.parametrize("name", MODEL_GARDEN)
@torch.no_grad()
def test_outputs_match_the_model_garden(name: str) -> None:
    seeded = runpy.run_path(str(SEEDED))
    backbone = build_backbone(name, compat="v2", **(NARROW if name == "spinenet49" else {})).eval()
    shapes = {variable: tensor.shape for variable, tensor in tf_variables(backbone).items()}
    load_tf_weights(backbone, {variable: seeded["weight"](variable, shapes[variable]) for variable in shapes})
    features = backbone(torch.from_numpy(seeded["image"](192)).permute(0, 3, 1, 2))
    for feature, want in zip(features.values(), MODEL_GARDEN[name], strict=True):
        # Float32 sums in another order: within 1e-5 of the maximum.
        assert summary(feature) == pytest.approx(want, rel=0, abs=1e-5 * want[1])
