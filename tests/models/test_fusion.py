"""Fusions that share their squeezes: against a sum written out, weights, what evaluation leaves out."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from spinesearch import ArchSpec, SpecError, build_backbone, build_detector
from spinesearch.models.backbone import ScalePermutedBackbone
from spinesearch.models.fusion import SharedFusion, Source, Target, largest
from spinesearch.models.layers import max_pool_same, resize_nearest
from spinesearch.models.resample import pool_window
from spinesearch.models.weights.description import build_described, describe
from spinesearch.models.weights.tf_weights import tf_variables
from spinesearch.space import SPINENET_49, SPINENET_MOBILE_49
from spinesearch.space.arch.identity import live_blocks
from spinesearch.space.cost.fusion import fusion_candidates
from spinesearch.space.cost.plan import plan_for_size

NARROW = {"filter_size_scale": 0.125, "resample_alpha": 0.25, "endpoints_num_filters": 8}


def shared(fusion: str = "attention", *, seed: int = 0) -> ScalePermutedBackbone:
    """SpineNet-49, narrow, in float64, after a batch in training; attention differs between images."""
    torch.manual_seed(seed)
    network = build_backbone("spinenet49", fusion=fusion, bn_momentum=0.5, **NARROW).double()
    assert isinstance(network, ScalePermutedBackbone)
    for name, parameter in network.named_parameters():
        if name.endswith(("query", "bias")):
            nn.init.normal_(parameter)
    network.train()(images(4))
    return network.eval()


def images(count: int, side: int = 128) -> Tensor:
    return torch.rand(count, 3, side, side, dtype=torch.float64)


def fusion_of(network: ScalePermutedBackbone) -> SharedFusion:
    assert isinstance(network.resamples, SharedFusion)
    return network.resamples


def record_gates(target: Target, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The weights of every pass from now on."""
    found: list[Tensor] = []
    gates = target.gates

    def recording(keys: Sequence[Tensor]) -> Tensor:
        found.append(gates(keys))
        return found[-1]

    monkeypatch.setattr(target, "gates", recording)
    return found


def summed(network: ScalePermutedBackbone, x: Tensor) -> dict[int, Tensor]:
    """The network's features, had every block the plain sum of its two parents from the shared squeezes."""
    spec, fusion = network.spec, fusion_of(network)
    plan = plan_for_size(spec, network.block_channels, x.shape[2], x.shape[3])
    features: dict[int, Tensor] = {}

    def resampled(j: int, i: int) -> Tensor:
        source, size = fusion.sources[str(j)], plan.sizes[i]
        assert isinstance(source, Source)
        z = source.squeeze(features[j])
        if spec.block(i).level > spec.block(j).level:
            assert source.down is not None
            kernel, stride = pool_window(z.shape[2], size[0])
            z = source.down(z)
            if kernel > 1:
                z = max_pool_same(z, (kernel, kernel), (stride, stride))
        return resize_nearest(z, size)

    x = max_pool_same(network.stem_conv(x), (3, 3), (2, 2))
    for i, block in enumerate(spec.all_blocks):
        if i >= len(spec.stem):
            target = fusion.targets[str(i)]
            assert isinstance(target, Target)
            first, second = block.parents
            x = target.expand(resampled(first, i) + resampled(second, i))
            x = network.activation(x + sum(features[j] for j in plan.unresampled[i]))
        x = features[i] = network.blocks[i](x)
    return {level: network.endpoints[str(level)](features[i]) for level, i in spec.output_ids.items()}


@torch.no_grad()
def test_gates_of_one_at_the_parents_are_the_sum_of_two():
    network = shared()
    fusion = fusion_of(network)
    for i, ids in enumerate(fusion.candidates):
        if ids:
            target = fusion.targets[str(i)]
            assert isinstance(target, Target)
            assert target.query is not None
            target.query.zero_()
            parents = network.spec.block(i).parents
            target.bias.copy_(torch.tensor([0.0 if j in parents else -1e4 for j in ids]))
            ones = [[float(j in parents) for j in ids]] * 3
            keys = [torch.rand(3, 16, dtype=torch.float64) for _ in ids]
            assert target.gates(keys).tolist() == ones
    x = images(2)
    wanted = summed(network, x)
    for level, feature in network(x).items():
        torch.testing.assert_close(feature, wanted[level], rtol=0, atol=1e-12 * float(wanted[level].max()))
    fusion.top_k = 2  # the two parents alone are resampled then
    for level, feature in network(x).items():
        torch.testing.assert_close(feature, wanted[level], rtol=0, atol=1e-12 * float(wanted[level].max()))


def test_candidates_are_all_that_a_block_depends_on():
    blocks = (
        (3, "bottleneck", (0, 1), False),  # block 2
        (4, "bottleneck", (0, 2), False),
        (5, "residual", (0, 1), False),
        (3, "bottleneck", (2, 4), True),
        (4, "bottleneck", (0, 3), True),
        (5, "bottleneck", (1, 6), True),
        (6, "bottleneck", (0, 1), True),
        (7, "bottleneck", (5, 8), True),  # block 9
    )
    spec = ArchSpec.from_tuples(blocks)
    assert fusion_candidates(spec) == (
        (),
        (),
        (0, 1),
        (0, 1, 2),
        (0, 1),
        (0, 1, 2, 4),
        (0, 1, 2, 3),
        (0, 1, 2, 3, 6),
        (0, 1),
        (0, 1, 2, 4, 5, 8),
    )
    candidates = fusion_candidates(SPINENET_49)
    assert sum(map(len, candidates)) == 123
    assert [sum(min(k, len(ids)) for ids in candidates) for k in (2, 4)] == [30, 56]
    live = live_blocks(SPINENET_49)
    assert all(set(candidates[i]) <= live for i in live)


@torch.no_grad()
def test_weights_are_of_each_image_with_attention_and_of_none_without(monkeypatch: pytest.MonkeyPatch):
    x = images(3)
    for fusion, differ in (("attention", True), ("weighted", False)):
        network = shared(fusion)
        target = fusion_of(network).targets["16"]
        assert isinstance(target, Target)
        found = record_gates(target, monkeypatch)
        together = network(x)
        torch.testing.assert_close(found[0].sum(dim=1), torch.full_like(found[0][:, 0], 2.0))
        assert (len(found[0].unique(dim=0)) > 1) is differ
        alone = network(x[1:2])  # no image sees the others
        for level in alone:
            torch.testing.assert_close(alone[level][0], together[level][1], rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_top_k_resamples_less_and_all_of_them_change_nothing():
    assert largest(torch.tensor([[0.5, 1.0, 0.25, 0.25]]), 2).tolist() == [
        [pytest.approx(2 / 3), pytest.approx(4 / 3), 0.0, 0.0]
    ]
    network, x = shared(), images(1)
    convolved: list[str] = []
    for name, source in fusion_of(network).sources.items():
        assert isinstance(source, Source)
        if source.down is not None:
            source.down.register_forward_hook(lambda *_, name=name: convolved.append(name))
    whole = network(x)
    num_whole = len(convolved)
    fusion_of(network).top_k = 99
    for level, feature in network(x).items():
        assert torch.equal(feature, whole[level])
    convolved.clear()
    fusion_of(network).top_k = 1
    network(x)
    assert len(convolved) < num_whole
    network.train()
    convolved.clear()
    network(images(2))
    assert len(convolved) == num_whole  # training weighs everything


def test_gradients_reach_all_that_the_weights_are_made_of():
    torch.manual_seed(0)
    network = build_backbone("spinenet49", fusion="attention", **NARROW).train()
    assert isinstance(network, ScalePermutedBackbone)
    for name, parameter in network.named_parameters():
        if name.endswith("query"):
            assert not parameter.any()  # all images begin with the same weights
            nn.init.normal_(parameter)
    sum(feature.square().mean() for feature in network(images(2).float()).values()).backward()
    live = {str(i) for i in live_blocks(SPINENET_49)}
    for name, parameter in network.named_parameters():
        part, _, rest = name.partition(".")
        number = rest.split(".")[1] if part == "resamples" else rest.partition(".")[0]
        if part not in ("blocks", "resamples") or number in live:
            assert parameter.grad is not None, name


def test_descriptions_name_a_fusion_that_is_not_the_sum():
    torch.manual_seed(0)
    network = build_detector("spinenet49", num_classes=2, fusion="weighted", **NARROW)
    description = describe(network)
    assert description["model"]["fusion"] == "weighted"
    again = build_described(description)
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in network.state_dict().items()
    }
    assert "fusion" not in describe(build_detector("spinenet49", num_classes=2, **NARROW))["model"]


def test_what_cannot_be_fused_is_refused():
    with pytest.raises(SpecError, match="fusion: must be one of sum, weighted, attention, got 'max'"):
        build_backbone("spinenet49", fusion="max")
    with pytest.raises(SpecError, match="fusion: attention shares the squeezes of resamplings, which MBConv"):
        build_backbone(SPINENET_MOBILE_49, fusion="attention")
    with pytest.raises(ValueError, match="fusion: resnet50_fpn has none to change, got weighted"):
        build_backbone("resnet50_fpn", fusion="weighted")
    with pytest.raises(ValueError, match="fusion: must be sum, as in TensorFlow's networks"):
        tf_variables(build_backbone("spinenet49", fusion="weighted", **NARROW))
