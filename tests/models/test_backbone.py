import copy
import math
import random

import pytest
import torch
from torch import nn

from spinesearch.models.backbone import ScalePermutedBackbone, build_backbone
from spinesearch.models.layers import ConvNorm, StochasticDepth
from spinesearch.space import (
    MBCONV_STEM,
    OUTPUT_LEVELS,
    R0_SP53,
    SPINENET_49,
    SPINENET_STEM,
    ArchSpec,
    BlockSpec,
    SpecError,
)
from spinesearch.space.arch.identity import live_blocks
from spinesearch.space.presets import R23_SP30, SPINENET_MOBILE_49

NARROW = {"filter_size_scale": 0.125, "resample_alpha": 0.5, "endpoints_num_filters": 8}

# No block has block 3 (L6, residual) as a parent; an output of its size and channels takes it unresampled.
UNREAD_L6 = ArchSpec.from_tuples(
    [
        (4, "bottleneck", (0, 1), False),
        (6, "residual", (0, 2), False),
        (3, "bottleneck", (1, 2), True),
        (4, "bottleneck", (2, 4), True),
        (5, "bottleneck", (2, 5), True),
        (6, "bottleneck", (5, 6), True),
        (7, "residual", (6, 7), True),
    ]
)

# The third stem block feeds nothing.
UNREAD_STEM = ArchSpec.from_tuples(
    [
        (3, "bottleneck", (0, 1), True),
        (4, "residual", (1, 3), True),
        (5, "bottleneck", (3, 4), True),
        (6, "residual", (1, 5), True),
        (7, "bottleneck", (4, 6), True),
    ],
    stem=(BlockSpec(level=2),) * 3,
)


def narrow(spec: ArchSpec | str, **kwargs: object) -> ScalePermutedBackbone:
    torch.manual_seed(0)
    return build_backbone(spec, **{**NARROW, **kwargs}).eval()


def random_spec(rng: random.Random) -> ArchSpec:
    """Any valid spec: 0 to 12 intermediate blocks at levels 1 to 7, outputs in any order, any parents."""
    stem, types = rng.choice([(SPINENET_STEM, ("bottleneck", "residual")), (MBCONV_STEM, ("mbconv",))])
    levels = [(rng.randint(1, 7), False) for _ in range(rng.randint(0, 12))]
    levels += [(level, True) for level in rng.sample(OUTPUT_LEVELS, len(OUTPUT_LEVELS))]
    return ArchSpec.from_tuples(
        [
            (level, rng.choice(types), tuple(rng.sample(range(i), 2)), is_output)
            for i, (level, is_output) in enumerate(levels, start=2)
        ],
        stem=stem,
    )


def size_at(level: int, height: int, width: int) -> tuple[int, int]:
    return math.ceil(height / 2**level), math.ceil(width / 2**level)


@pytest.mark.parametrize("size", [(128, 128), (64, 160), (97, 131), (33, 32), (32, 200)])
@pytest.mark.parametrize("spec", [SPINENET_49, R0_SP53, R23_SP30, UNREAD_L6, SPINENET_MOBILE_49])
@torch.no_grad()
def test_features_have_ceil_sizes(spec: ArchSpec, size: tuple[int, int]) -> None:
    backbone = narrow(spec)
    images = torch.rand(2, 3, *size)
    features = backbone(images)
    assert list(features) == [3, 4, 5, 6, 7]
    for level, feature in features.items():
        assert feature.shape == (2, 8, *size_at(level, *size))
    for block, channels, feature in zip(
        spec.all_blocks, backbone.block_channels, backbone.block_features(images), strict=True
    ):
        assert feature.shape == (2, channels, *size_at(block.level, *size))


@pytest.mark.slow
@torch.no_grad()
def test_random_specs_build_and_have_the_right_shapes() -> None:
    rng = random.Random(0)
    for _ in range(30):
        spec = random_spec(rng)
        size = rng.randint(32, 150), rng.randint(32, 150)
        backbone = narrow(spec, block_repeats=rng.choice((1, 2)), activation=rng.choice(("relu", "swish")))
        images = torch.rand(1, 3, *size)
        features = backbone(images)
        blocks = backbone.block_features(images)
        for (level, block_id), feature in zip(spec.output_ids.items(), features.values(), strict=True):
            assert feature.shape == (1, 8, *size_at(level, *size))
            # Skipping dead blocks changes nothing but last bits: a feature that fewer resamplings read is
            # squeezed by a narrower matrix product, which some processors sum in another order.
            torch.testing.assert_close(
                feature, backbone.endpoints[str(level)](blocks[block_id]), rtol=1e-4, atol=1e-5
            )


def test_widths_follow_the_level_table() -> None:
    with torch.device("meta"):
        full = build_backbone("spinenet49")
        wide = build_backbone("spinenet49", filter_size_scale=1.3)
        small = build_backbone("spinenet49", filter_size_scale=0.65)
    assert full.block_channels[:2] == (256, 256)
    assert full.block_channels[2:12] == (256, 256, 512, 1024, 256, 1024, 256, 256, 1024, 1024)
    assert full.block_channels[12:] == (1024, 512, 1024, 1024, 1024)
    # Truncated: 64 * 0.65 = 41.6, 128 * 1.3 = 166.4.
    assert [small.block_channels[i] for i in (0, 3, 4, 5)] == [4 * 41, 166, 4 * 83, 4 * 166]
    assert [wide.block_channels[i] for i in (0, 3, 4, 5)] == [4 * 83, 332, 4 * 166, 4 * 332]
    assert small.stem_conv.conv.out_channels == 64  # never scaled
    assert full.resamples[2][0].squeeze.conv.out_channels == 32  # block 4 reads block 2, of width 64
    assert full.resamples[2][1].squeeze.conv.out_channels == 128  # and block 3, a residual of 256


def test_the_stem_has_the_width_asked_for() -> None:
    with torch.device("meta"):
        backbone = build_backbone("spinenet49", filter_size_scale=0.25, stem_filters=12)
        mobile = build_backbone("spinenet_mobile49", stem_filters=12)
        scaled = build_backbone("spinenet_mobile49", filter_size_scale=1.5)
    assert [network.stem_conv.conv.out_channels for network in (backbone, mobile, scaled)] == [12, 12, 12]
    assert backbone.block_channels == build_backbone("spinenet49", filter_size_scale=0.25).block_channels


def test_only_the_first_stem_block_of_spinenet_projects() -> None:
    backbone = build_backbone("spinenet49", block_repeats=2, **NARROW)
    projections = [
        name
        for name, module in backbone.named_modules()
        if name.endswith("shortcut") and isinstance(module, ConvNorm)
    ]
    assert projections == ["blocks.0.0.shortcut"]


def test_the_spec_given_is_the_one_built() -> None:
    with torch.device("meta"):
        for spec in (SPINENET_49, R0_SP53, UNREAD_L6):
            backbone = ScalePermutedBackbone(spec)
            assert backbone.spec is spec
            assert len(backbone.blocks) == len(spec)
            for block, resamples in zip(spec.blocks, backbone.resamples, strict=True):
                has_conv = [resample.down is not None for resample in resamples]
                assert has_conv == [spec.block(parent).level < block.level for parent in block.parents]


@torch.no_grad()
def test_spinenet_adds_block_11_to_the_input_of_block_14() -> None:
    backbone = narrow("spinenet49")
    images = torch.rand(1, 3, 128, 128)
    before = backbone.block_features(images)
    assert not torch.equal(before[11], torch.zeros_like(before[11]))
    last = backbone.blocks[11][0].branch[2].norm
    last.bias += 1.0
    after = backbone.block_features(images)
    changed = [i for i in range(17) if not torch.equal(before[i], after[i])]
    assert changed == [11, 14, 15, 16]


@torch.no_grad()
def test_equal_sizes_at_run_time_join_features_of_different_levels() -> None:
    backbone = narrow(UNREAD_L6)
    shifted = copy.deepcopy(backbone)
    shifted.blocks[3][0].branch[1].norm.bias += 1.0
    at_128, at_64 = torch.rand(1, 3, 128, 128), torch.rand(1, 3, 64, 64)
    assert torch.equal(backbone(at_128)[7], shifted(at_128)[7])  # 2 x 2 and 1 x 1: block 3 is dead
    assert not torch.equal(backbone(at_64)[7], shifted(at_64)[7])  # both 1 x 1, both 32 channels: it is added


@torch.no_grad()
def test_batched_equals_single() -> None:
    backbone = narrow("spinenet49", activation="swish")
    images = torch.randn(3, 3, 96, 128)
    together = backbone(images)
    for i in range(3):
        alone = backbone(images[i : i + 1])
        for level in OUTPUT_LEVELS:
            torch.testing.assert_close(together[level][i : i + 1], alone[level], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spec", [SPINENET_49, R23_SP30, UNREAD_L6, UNREAD_STEM, SPINENET_MOBILE_49])
def test_gradients_reach_every_live_parameter_and_no_other(spec: ArchSpec) -> None:
    # Batch norm over two values has hardly a gradient, and level 7 is one pixel: so three images, in float64.
    backbone = narrow(spec, activation="swish").double().train()
    features = backbone(torch.randn(3, 3, 128, 128, dtype=torch.float64))
    torch.stack([(x * torch.randn_like(x)).sum() for x in features.values()]).sum().backward()
    num_stem, live = len(spec.stem), live_blocks(spec)
    dead = {f"blocks.{i}." for i in range(len(spec)) if i not in live}
    dead |= {f"resamples.{i - num_stem}." for i in range(num_stem, len(spec)) if i not in live}
    for name, parameter in backbone.named_parameters():
        if name.startswith(tuple(dead)):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            assert float(parameter.grad.abs().max()) > 0, name


def test_stochastic_depth_rises_linearly_and_spares_the_stem() -> None:
    backbone = build_backbone("spinenet49", stochastic_depth_rate=0.2, block_repeats=2, **NARROW)
    for i, repeats in enumerate(backbone.blocks):
        rates = [module.rate for module in repeats.modules() if isinstance(module, StochasticDepth)]
        assert rates == pytest.approx([0.0 if i < 2 else 0.2 * (i - 1) / 15] * 2)


@torch.no_grad()
def test_stochastic_depth_is_off_in_eval() -> None:
    backbone = narrow("spinenet49", stochastic_depth_rate=0.9)
    images = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(backbone(images), narrow("spinenet49")(images))


@torch.no_grad()
def test_state_dict_round_trip() -> None:
    source = narrow("r0_sp53").train()
    images = torch.randn(3, 3, 64, 96)
    source(images)  # moves the running statistics away from their start
    source.eval()
    target = build_backbone("r0_sp53", **NARROW).eval()
    target.load_state_dict(source.state_dict())
    want, got = source(images), target(images)
    assert all(torch.equal(want[level], got[level]) for level in OUTPUT_LEVELS)


def test_initial_weights() -> None:
    backbone = build_backbone("spinenet49", filter_size_scale=0.25)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert bool((module.weight == 1).all())
            assert bool((module.bias == 0).all())
            assert module.momentum == 0.003
            assert module.eps == 1e-4
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 10_000:
            scale = float(module.weight.detach().std()) * math.sqrt(module.weight[0].numel())
            assert scale == pytest.approx(1.0, rel=0.05)  # seven standard errors at 10,000 weights


@pytest.mark.parametrize(
    "shape", [(3, 64, 64), (1, 1, 64, 64), (1, 3, 31, 64), (1, 3, 64, 16), (1, 64, 64, 3)]
)
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"expected \[B, 3, H, W\].* got \[{', '.join(map(str, shape))}\]"):
        narrow(UNREAD_L6)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"filter_size_scale": 0.01}, r"filter_size_scale: 0.01 leaves none of 64 filters"),
        ({"resample_alpha": 0.001}, r"resample_alpha: 0.001 leaves none of 64 filters"),
        ({"block_repeats": 0}, r"block_repeats must be a whole number of at least 1, got 0"),
        ({"endpoints_num_filters": 0}, r"endpoints_num_filters must be a whole number of at least 1, got 0"),
        ({"stem_filters": 0}, r"stem_filters: must be a whole number of at least 1, got 0"),
        ({"activation": "gelu"}, r"activation: expected one of relu, swish"),
        ({"stochastic_depth_rate": 1.0}, r"below 1, got 1.0"),
    ],
)
def test_arguments_out_of_range_are_refused(kwargs: dict[str, object], message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        build_backbone("spinenet49", **kwargs)


@pytest.mark.parametrize(("levels", "block_id"), [((1, 2), 0), ((4, 4), 0), ((2, 4), 1), ((3, 2), 1)])
def test_a_stem_that_jumps_or_climbs_is_refused(levels: tuple[int, int], block_id: int) -> None:
    spec = ArchSpec(stem=tuple(BlockSpec(level=level) for level in levels), blocks=SPINENET_49.blocks)
    with torch.device("meta"), pytest.raises(ValueError, match=f"stem block {block_id}: level must be"):
        build_backbone(spec)


def test_unknown_preset_offers_the_nearest() -> None:
    with pytest.raises(SpecError, match="spinenet49"):
        build_backbone("spinenet50")
