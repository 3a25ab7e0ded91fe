"""Whole networks against their plain form (plain_backbone.py): equal in training and after it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from long_suite import few, few_rows
from plain_backbone import PlainBackbone
from torch import Tensor, nn

from spinesearch.models import fusion, layers, pointwise, resample
from spinesearch.models.backbone import ScalePermutedBackbone, build_backbone
from spinesearch.models.gpu import mark_for_gpu
from spinesearch.space import MBCONV_STEM, OUTPUT_LEVELS, SPINENET_STEM, ArchSpec

NARROW = {"filter_size_scale": 0.125, "endpoints_num_filters": 8}
# Of the largest value. Batch norm over few values blows up the rounding of float64, 1e-16: the plain form in
# another memory order comes out as far apart after all layers as the rewrites do, 2e-9 at most. What is left
# out or confused shows from 1e-6 on: the smallest such thing is n / (n - 1) in a running variance, one part
# in 27,000 (the rows of level 1) times the momentum.
TOLERANCE = 1e-7


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each rewrite was taken."""
    count: Counter[str] = Counter()

    def watch(module: object, name: str, what: str) -> None:
        original = getattr(module, name)

        def watched(*args: object, **kwargs: object) -> object:
            count[what] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(module, name, watched)

    watch(layers, "conv_norms", "pointwise")
    watch(fusion, "conv_norms", "merged")
    watch(pointwise, "expand_norm", "folded")
    watch(resample, "expand_norm", "before upsampling")
    return count


def seasoned(spec: ArchSpec | str, seed: int = 0, **kwargs: object) -> ScalePermutedBackbone:
    """In float64 and training mode, with norms of both signs that shift, and statistics that move fast."""
    torch.manual_seed(seed)
    network = build_backbone(spec, bn_momentum=0.1, **kwargs).double().train()
    assert isinstance(network, ScalePermutedBackbone)
    with torch.no_grad():
        for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.weight.uniform_(0.5, 1.5).mul_(torch.randint(0, 2, norm.weight.shape) * 2 - 1)
            norm.bias.normal_(std=0.5)
    return network


def random_spec(rng: random.Random) -> ArchSpec:
    """Any valid spec: up to 8 intermediate blocks at levels 1 to 7, outputs in any order, any parents."""
    stem, types = (
        (MBCONV_STEM, ("mbconv",)) if rng.random() < 0.2 else (SPINENET_STEM, ("bottleneck", "residual"))
    )
    blocks = [(rng.randint(1, 7), False) for _ in range(rng.randint(0, 8))]
    blocks += [(level, True) for level in rng.sample(OUTPUT_LEVELS, len(OUTPUT_LEVELS))]
    return ArchSpec.from_tuples(
        [
            (level, rng.choice(types), tuple(rng.sample(range(i), 2)), is_output)
            for i, (level, is_output) in enumerate(blocks, start=2)
        ],
        stem=stem,
    )


def outputs_and_gradients(network: nn.Module, images: Tensor, seed: int) -> tuple[dict[str, Tensor], ...]:
    """Features by level; gradients by parameter, and of the images, of a random linear function of them."""
    torch.manual_seed(seed)  # stochastic depth draws the same
    images = images.clone().requires_grad_()
    features = network(images)
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in features.values()]
    torch.stack([(x * w).sum() for x, w in zip(features.values(), weights, strict=True)]).sum().backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    assert images.grad is not None
    network.zero_grad()
    return {str(level): x.detach() for level, x in features.items()}, gradients | {"images": images.grad}


def assert_close(
    got: Mapping[Any, Tensor], want: Mapping[Any, Tensor], what: str, floor: float = 0.0
) -> None:
    """Each tensor within the tolerance of its own largest value, or of 1 % of `floor` where that is more.

    Gradients of weights that batch norm makes idle are rounding alone, whence the floor.
    """
    assert got.keys() == want.keys()
    for name, tensor in want.items():
        error = float((got[name] - tensor).abs().max())
        assert error <= TOLERANCE * max(float(tensor.abs().max()), 0.01 * floor), f"{what} {name}: {error}"


def assert_step_equal(ours: nn.Module, plain: nn.Module, images: Tensor, seed: int = 0) -> None:
    """Outputs, gradients and, after a small step along these, the whole state."""
    outputs, gradients = outputs_and_gradients(ours, images, seed)
    plain_outputs, plain_gradients = outputs_and_gradients(plain, images, seed)
    assert_close(outputs, plain_outputs, "output")
    largest = max(float(gradient.abs().max()) for gradient in plain_gradients.values())
    assert_close(gradients, plain_gradients, "gradient", floor=largest)
    for network, step in ((ours, gradients), (plain, plain_gradients)):
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if name in step:
                    parameter -= 0.01 / largest * step[name]
    state, plain_state = ours.state_dict(), plain.state_dict()
    assert_close(state, plain_state, "state")
    counts = [name for name in state if name.endswith("num_batches_tracked")]
    assert counts
    assert all(torch.equal(state[name], plain_state[name]) for name in counts)


def assert_networks_equal(ours: ScalePermutedBackbone, batches: list[Tensor]) -> None:
    plain = PlainBackbone(ours)
    for seed, images in enumerate(batches):
        assert_step_equal(ours, plain, images, seed)
    ours.eval()
    plain.eval()
    assert_step_equal(ours, plain, batches[0])
    with torch.no_grad():
        outputs, plain_outputs = ours(batches[0]), plain(batches[0])
    assert_close(outputs, plain_outputs, "output without gradients")


@pytest.mark.parametrize("min_rows", few([0, pointwise.MIN_FOLD_ROWS], 1))
@pytest.mark.parametrize(
    ("name", "kwargs"),
    few_rows(
        [
            ("spinenet49", NARROW),
            ("r0_sp53", NARROW | {"activation": "swish", "compat": "v2"}),
            ("r23_sp30", NARROW | {"block_repeats": 2, "stochastic_depth_rate": 0.3}),
            ("spinenet_mobile49", {"filter_size_scale": 0.6}),
        ],
        ["spinenet49"],
    ),
)
def test_published_networks_equal_their_plain_form(
    name: str, kwargs: dict[str, object], min_rows: int, taken: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pointwise, "MIN_FOLD_ROWS", min_rows)
    batches = [
        torch.randn(4, 3, height, width, dtype=torch.float64) for height, width in ((128, 128), (200, 136))
    ]
    assert_networks_equal(seasoned(name, **kwargs), batches)
    expected = {"pointwise", "folded"} | (set() if "mobile" in name else {"merged", "before upsampling"})
    assert {what for what, times in taken.items() if times} == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", ["spinenet49", "r0_sp53"])
def test_networks_for_a_gpu_equal_their_plain_form(name: str, taken: Counter[str]) -> None:
    """In training and evaluation, running variances with the N of after the upsampling included."""
    network = seasoned(name, **NARROW, compat="v2" if name == "r0_sp53" else "v1")
    mark_for_gpu(network)
    assert_networks_equal(network, [torch.randn(4, 3, 128, 128, dtype=torch.float64) for _ in range(2)])
    assert {what for what, times in taken.items() if times} == {"pointwise", "merged", "before upsampling"}


@pytest.mark.parametrize("seed", few(range(20), 1))
def test_random_networks_equal_their_plain_form(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(pointwise, "MIN_FOLD_ROWS", rng.choice((0, pointwise.MIN_FOLD_ROWS)))
    network = seasoned(
        random_spec(rng),
        seed,
        **NARROW,
        activation=rng.choice(("relu", "swish")),
        compat=rng.choice(("v1", "v2")),
        block_repeats=rng.choice((1, 2)),
        stochastic_depth_rate=rng.choice((0.0, 0.3)),
    )
    height, width = rng.choice(((128, 128), (200, 136), (97, 131), (64, 160), (96, 33)))
    assert_networks_equal(network, [torch.randn(4, 3, height, width, dtype=torch.float64)])


def freeze_some(network: ScalePermutedBackbone, what: str) -> None:
    squeeze = network.resamples[0][0].squeeze.norm  # block 2 reads 0, and so does block 3
    match what:
        case "all":
            for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
                norm.eval()
        case "expansions":
            for pair in network.resamples:
                for each in pair:
                    each.expand.norm.eval()
        case "one squeeze of several":
            squeeze.eval()
        case "momentum of one squeeze":
            squeeze.momentum = 0.7
        case "eps of one squeeze":
            squeeze.eps = 0.3


@pytest.mark.parametrize(
    "what",
    few(["expansions", "one squeeze of several", "momentum of one squeeze", "eps of one squeeze", "all"], 2),
)
def test_norms_that_differ_within_a_network_in_training(what: str) -> None:
    ours = seasoned("spinenet49", **NARROW)
    images = torch.randn(4, 3, 128, 128, dtype=torch.float64)
    with torch.no_grad():
        ours(images)  # statistics that matter
    plain = PlainBackbone(ours)
    for network in (ours, plain):
        freeze_some(network, what)
    assert_step_equal(ours, plain, images)


def test_the_features_of_frozen_weights_need_no_gradient_of_them() -> None:
    ours = seasoned("spinenet49", **NARROW)
    plain = PlainBackbone(ours)
    images = torch.randn(4, 3, 128, 128, dtype=torch.float64)
    for network in (ours, plain):
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name.endswith("norm.bias"))
    gradients, plain_gradients = (outputs_and_gradients(network, images, 0)[1] for network in (ours, plain))
    assert all(name == "images" or name.endswith("norm.bias") for name in gradients)
    assert_close(
        gradients, plain_gradients, "gradient", floor=max(float(g.abs().max()) for g in gradients.values())
    )
