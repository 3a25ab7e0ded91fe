import math

import pytest
import torch
from torch import Tensor, nn

from spinesearch.models.gpu import folded
from spinesearch.models.heads.detector import build_detector
from spinesearch.models.heads.retinanet import RetinaNet, RetinaNetHead, SeparableConv2d

NUM_CLASSES = 5
NUM_ANCHORS = 3


def narrow(**kwargs: object) -> RetinaNet:
    torch.manual_seed(0)
    options: dict[str, object] = {
        "num_classes": NUM_CLASSES,
        "num_anchors": NUM_ANCHORS,
        "head_num_convs": 2,
        "head_num_filters": 8,
        "filter_size_scale": 0.125,
        "endpoints_num_filters": 16,
    }
    return build_detector("spinenet49", **{**options, **kwargs}).eval()


def features(channels: int, sizes: dict[int, tuple[int, int]]) -> dict[int, Tensor]:
    return {level: torch.randn(2, channels, *size) for level, size in sizes.items()}


@torch.no_grad()
def test_head_predicts_every_level() -> None:
    head = RetinaNetHead(
        8, num_classes=NUM_CLASSES, num_anchors=NUM_ANCHORS, num_convs=1, num_filters=4, levels=(4, 6)
    ).eval()
    sizes = {4: (5, 7), 6: (2, 2)}
    cls_logits, box_deltas = head(features(8, sizes))
    assert list(cls_logits) == list(box_deltas) == [4, 6]
    for level, size in sizes.items():
        assert cls_logits[level].shape == (2, NUM_ANCHORS * NUM_CLASSES, *size)
        assert box_deltas[level].shape == (2, NUM_ANCHORS * 4, *size)


def test_convolutions_are_shared_and_norms_are_not() -> None:
    head = narrow().head
    for net in (head.cls_net, head.box_net):
        assert len(net.convs) == 2
        assert all(conv.bias is not None for conv in net.convs)
        norms = [norm for norm in net.modules() if isinstance(norm, nn.BatchNorm2d)]
        assert len(norms) == len(set(map(id, norms))) == 2 * 5


def test_a_norm_belongs_to_its_level_alone() -> None:
    head = narrow().head
    inputs = features(16, dict.fromkeys(head.levels, (3, 3)))
    with torch.no_grad():
        before = head(inputs)
        head.cls_net.norms["5"][0].bias += 1.0
        head.box_net.norms["6"][1].bias += 1.0
        after = head(inputs)
    changed = [
        [level for level in head.levels if not torch.equal(old[level], new[level])]
        for old, new in zip(before, after, strict=True)
    ]
    assert changed == [[5], [6]]


def test_initial_values() -> None:
    torch.manual_seed(0)
    head = RetinaNetHead(64, num_classes=20, num_anchors=9, num_filters=64)
    for net in (head.cls_net, head.box_net):
        for conv in net.convs:
            assert float(conv.weight.detach().std()) == pytest.approx(0.01, rel=0.03)
            assert bool((conv.bias == 0).all())
        assert float(net.predict.weight.detach().std()) == pytest.approx(1e-5, rel=0.03)
    torch.testing.assert_close(head.cls_net.predict.bias, torch.full((180,), -math.log(99.0)))
    assert bool((head.box_net.predict.bias == 0).all())


def test_a_separable_head_is_depthwise_and_pointwise_throughout() -> None:
    head = RetinaNetHead(8, num_classes=5, num_anchors=3, num_convs=2, num_filters=6, is_separable=True)
    for net, num_outputs in ((head.cls_net, 15), (head.box_net, 12)):
        shapes = [
            (tuple(c.depthwise.weight.shape), tuple(c.pointwise.weight.shape))
            for c in [*net.convs, net.predict]
        ]
        assert shapes == [
            ((8, 1, 3, 3), (6, 8, 1, 1)),
            ((6, 1, 3, 3), (6, 6, 1, 1)),
            ((6, 1, 3, 3), (num_outputs, 6, 1, 1)),
        ]
        assert all(
            c.depthwise.bias is None and c.pointwise.bias is not None for c in [*net.convs, net.predict]
        )
        assert {len(norms) for norms in net.norms.values()} == {2}


@torch.no_grad()
def test_a_separable_convolution_is_the_product_of_its_kernels() -> None:
    layer = SeparableConv2d(4, 6, initial_bias=0.5)
    x = torch.randn(2, 4, 5, 7)
    kernel = layer.pointwise.weight * layer.depthwise.weight[None, :, 0]  # [6, 4, 1, 1] by [1, 4, 3, 3]
    want = torch.nn.functional.conv2d(x, kernel, torch.full((6,), 0.5), padding=1)
    torch.testing.assert_close(layer(x), want)


def test_initial_values_of_a_separable_head() -> None:
    torch.manual_seed(0)
    head = RetinaNetHead(400, num_classes=20, num_anchors=9, num_filters=400, is_separable=True)
    for net in (head.cls_net, head.box_net):
        for conv in [*net.convs, net.predict]:
            # Glorot's uniform, variance 2 / (fan-in + fan-out), as TensorFlow counts [3, 3, 400, 1].
            depthwise, pointwise = conv.depthwise.weight.detach(), conv.pointwise.weight.detach()
            assert float(depthwise.std()) == pytest.approx(math.sqrt(2 / (9 * 401)), rel=0.05)
            assert float(pointwise.std()) == pytest.approx(math.sqrt(2 / (len(pointwise) + 400)), rel=0.05)
        assert all(bool((conv.pointwise.bias == 0).all()) for conv in net.convs)
    torch.testing.assert_close(head.cls_net.predict.pointwise.bias, torch.full((180,), -math.log(99.0)))
    assert bool((head.box_net.predict.pointwise.bias == 0).all())


@torch.no_grad()
def test_predictions_come_by_level_row_column_anchor() -> None:
    detector = narrow()
    # Predictions that are all but constant say little: a larger prediction layer distinguishes positions.
    for net in (detector.head.cls_net, detector.head.box_net):
        nn.init.normal_(net.predict.weight)
    images = torch.randn(2, 3, 64, 96)
    cls_levels, box_levels = detector.head(detector.backbone(images))
    cls_logits, box_deltas = detector(images)
    n = 0
    for level in (3, 4, 5, 6, 7):
        height, width = math.ceil(64 / 2**level), math.ceil(96 / 2**level)
        for row in range(height):
            for column in range(width):
                for a in range(NUM_ANCHORS):
                    k = slice(a * NUM_CLASSES, (a + 1) * NUM_CLASSES)
                    assert torch.equal(cls_logits[:, n], cls_levels[level][:, k, row, column])
                    c = slice(a * 4, (a + 1) * 4)
                    assert torch.equal(box_deltas[:, n], box_levels[level][:, c, row, column])
                    n += 1
    assert cls_logits.shape == (2, n, NUM_CLASSES)
    assert box_deltas.shape == (2, n, 4)


@torch.no_grad()
def test_batched_equals_single() -> None:
    detector = narrow()
    images = torch.randn(2, 3, 64, 64)
    together = detector(images)
    for i in range(2):
        alone = detector(images[i : i + 1])
        for many, one in zip(together, alone, strict=True):
            torch.testing.assert_close(many[i : i + 1], one, rtol=1e-4, atol=1e-6)


def test_untrained_scores_are_the_prior() -> None:
    cls_logits, _ = narrow()(torch.randn(1, 3, 64, 64))
    torch.testing.assert_close(cls_logits.sigmoid(), torch.full_like(cls_logits, 0.01), rtol=0, atol=1e-4)


@pytest.mark.parametrize("is_separable", [False, True])
def test_gradients_reach_every_parameter(is_separable: bool) -> None:
    detector = narrow(activation="swish", head_is_separable=is_separable).double().train()
    cls_logits, box_deltas = detector(torch.randn(3, 3, 64, 64, dtype=torch.float64))
    loss = (cls_logits * torch.randn_like(cls_logits)).sum() + (
        box_deltas * torch.randn_like(box_deltas)
    ).sum()
    loss.backward()
    for name, parameter in detector.named_parameters():
        # A convolution's bias is taken out by the batch norm after it.
        if ".convs." in name and name.endswith(".bias"):
            continue
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


def test_style_reaches_backbone_and_head() -> None:
    detector = narrow(activation="swish", bn_momentum=0.01, bn_eps=1e-3)
    norms = [module for module in detector.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.01, 1e-3)}
    assert not any(isinstance(module, nn.ReLU) for module in detector.modules())


@pytest.mark.parametrize("name", ["num_classes", "num_anchors", "num_filters"])
def test_counts_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1, got 0"):
        RetinaNetHead(8, **{"num_classes": 2, "num_anchors": 2, name: 0})


def test_boxes_are_predicted_in_float32_for_figures() -> None:
    """Within autocast, and from features in bfloat16; the classes, and all of training, stay as they were."""
    model = narrow()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            logits, deltas = model(images)
            features = model.backbone(images)
            coarse = model.head.box_net(features[3], 3)
            assert folded(model)(images)[1].dtype == torch.float32
        assert (logits.dtype, deltas.dtype, coarse.dtype) == (torch.bfloat16, torch.float32, torch.float32)
        assert not torch.equal(coarse, coarse.bfloat16().float())  # it was not rounded on the way
        with torch.autocast("cpu", torch.bfloat16):
            logits, deltas = model.train()(torch.rand(2, 3, 64, 64))
    assert (logits.dtype, deltas.dtype) == (torch.bfloat16, torch.bfloat16)
