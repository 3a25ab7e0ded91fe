"""Mask R-CNN as a network: what is published of its sizes, its outputs, and what it refuses."""

import pytest
import torch

from spinesearch.models.cost import count_multiply_adds, count_parameters
from spinesearch.models.mask_rcnn.detector import AsTested, MaskRCNN, build_mask_rcnn
from spinesearch.space import SPINENET_49, SpecError
from spinesearch.space.cost.mask_rcnn import SUPPRESSION_MULTIPLY_ADDS, mask_rcnn_cost
from spinesearch.space.published_masks import PUBLISHED_MASK_RCNN

NARROW = {"filter_size_scale": 0.25, "resample_alpha": 0.25, "endpoints_num_filters": 16}
# Section 9 of the reference: parameters M, multiply-adds B by the paper and by the released code.
PRINTED = {
    "spinenet49s": ("13.9", 60.2, None),
    "spinenet49": ("40.8", 216.1, 215.7),
    "spinenet96": ("55.2", 315.0, 314.6),
    "spinenet143": ("79.2", 498.8, 498.4),
    "spinenet190": ("168.2", None, 1685.7),
}


@pytest.mark.parametrize("name", PRINTED)
def test_published_sizes(name: str):
    millions, paper, code = PRINTED[name]
    cost = PUBLISHED_MASK_RCNN[name].cost()
    assert f"{cost.parameters / 1e6:.1f}" == millions
    if paper is not None:
        with_suppression = cost.profiler_multiply_adds + SUPPRESSION_MULTIPLY_ADDS
        assert with_suppression / 1e9 == pytest.approx(paper, rel=0.005)
    if code is not None:
        assert cost.profiler_multiply_adds / 1e9 == pytest.approx(code, rel=0.005)


def test_cost_by_its_spec_is_that_of_the_network():
    options = {**NARROW, "head_num_convs": 2, "head_num_filters": 8}
    cost = mask_rcnn_cost(SPINENET_49, 128, num_classes=5, num_anchors=3, **options)
    with torch.device("meta"):
        model = build_mask_rcnn(SPINENET_49, num_classes=5, **options)
    assert count_parameters(model) == cost.parameters
    assert count_multiply_adds(AsTested(model), 128) == cost.multiply_adds


def narrow() -> MaskRCNN:
    torch.manual_seed(0)
    return build_mask_rcnn(SPINENET_49, num_classes=5, head_num_convs=1, head_num_filters=8, **NARROW)


def test_shapes_and_classes():
    model = narrow().eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        proposed = model(images)
        regions = torch.tensor([[[0.0, 0, 64, 64], [8, 8, 40, 32], [0, 0, 0, 0]]] * 2)
        logits, codes = model.classify(proposed.features, regions)
        masks = [model.outline(proposed.features, regions, torch.full((2, 3), k)) for k in range(5)]
    num_anchors = 3 * (64 + 16 + 4 + 1 + 1)
    assert proposed.scores.shape == (2, num_anchors)
    assert proposed.box_deltas.shape == (2, num_anchors, 4)
    assert logits.shape == (2, 3, 6)
    assert codes.shape == (2, 3, 6, 4)
    assert masks[0].shape == (2, 3, 28, 28)
    assert not torch.equal(masks[0], masks[4])  # each class has a mask of its own
    # Alone or in a batch, an image has the same outputs.
    with torch.no_grad():
        alone = model(images[1:])
    torch.testing.assert_close(alone.scores, proposed.scores[1:], rtol=1e-4, atol=1e-5)


def test_norms_are_those_of_the_released_configurations():
    norms = [m for m in narrow().modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.01, 1e-3)}


# 46.3 is what the later code prints for ResNet-50-FPN, which has no Mask R-CNN in the paper.
@pytest.mark.parametrize(("name", "millions"), [("resnet50_fpn", "46.3"), ("SpineNet-49S", "13.9")])
def test_a_name_gives_the_published_heads(name: str, millions: str):
    with torch.device("meta"):
        model = build_mask_rcnn(name, num_classes=90)
    assert f"{count_parameters(model) / 1e6:.1f}" == millions


def test_bad_input():
    with pytest.raises(ValueError, match="num_classes must be a whole number of at least 1, got 0"):
        build_mask_rcnn(SPINENET_49, num_classes=0, **NARROW)
    with pytest.raises(SpecError, match="head_num_filters: must be a whole number of at least 1, got 0"):
        mask_rcnn_cost(SPINENET_49, 64, num_classes=1, head_num_filters=0)
