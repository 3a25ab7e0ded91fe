"""Networks that are exported in tests, with weights under which everything that is exported can be seen."""

from __future__ import annotations

import torch
from tiny_models import HEAD, NARROW, TINY
from torch import nn

from spinesearch.models.backbone import build_backbone
from spinesearch.models.fusion import Target
from spinesearch.models.heads.classifier import build_classifier
from spinesearch.models.heads.detector import build_detector
from spinesearch.models.mask_rcnn.detector import MaskRCNN, build_mask_rcnn
from spinesearch.models.weights.description import Network

QUARTER = {"filter_size_scale": 0.25, "endpoints_num_filters": 16}
TINY_DETECTOR = {**NARROW, **HEAD, "num_anchors": 9}
MASK_HEADS = {"num_classes": 3, "head_num_convs": 1, "head_num_filters": 8}
# Name: what `build_backbone` takes or, with classes, `build_detector`, or what its name says.
NETWORKS = {
    "tiny": (TINY, TINY_DETECTOR),
    "tiny v2 swish": (TINY, {**TINY_DETECTOR, "compat": "v2", "activation": "swish", "block_repeats": 2}),
    "backbone": (TINY, NARROW),
    "attention": (TINY, {**TINY_DETECTOR, "fusion": "attention"}),
    "weighted v2": (TINY, {**NARROW, "compat": "v2", "fusion": "weighted"}),
    "spinenet49": ("spinenet49", {**QUARTER, "num_classes": 4, "head_num_filters": 16}),
    "mobile": ("spinenet_mobile49xs", {"num_classes": 3}),
    "mobile v2": ("spinenet_mobile49xs", {"compat": "v2", "activation": "hard_swish"}),
    "r23_sp30": ("r23_sp30", {**QUARTER, "block_repeats": 2, "activation": "swish"}),
    "resnet": ("resnet50_fpn", {"endpoints_num_filters": 8, "num_classes": 2, "head_num_filters": 8}),
    "narrow resnet": ("resnet50_fpn", {**QUARTER, "stem_filters": 12}),
    "resnet v2 swish": (
        "resnet50_fpn",
        {"endpoints_num_filters": 8, "compat": "v2", "activation": "swish"},
    ),
    "classifier": (TINY, {**NARROW, "num_classes": 3, "activation": "hard_swish"}),
    "resnet classifier": (
        "resnet50_fpn",
        {"endpoints_num_filters": 8, "num_classes": 2, "compat": "v2", "activation": "hard_swish"},
    ),
    "mask_rcnn": (TINY, {**NARROW, **MASK_HEADS}),
    "mask_rcnn attention": (TINY, {**NARROW, **MASK_HEADS, "fusion": "attention", "activation": "swish"}),
}


def build(name: str, *, seed: int = 0) -> Network:
    """A network in evaluation mode, with statistics of its own and, as a detector, many detections."""
    model, arguments = NETWORKS[name]
    torch.manual_seed(seed)
    has_head = "num_classes" in arguments
    make = build_classifier if "classifier" in name else build_detector if has_head else build_backbone
    make = build_mask_rcnn if "mask_rcnn" in name else make
    module = make(model, **arguments).eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.3, 0.3)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
        if isinstance(part, Target) and part.query is not None:
            nn.init.normal_(part.query)  # which is zero at first, and all images alike
    if make is build_detector:
        for net, spread in ((module.head.cls_net, 3.0), (module.head.box_net, 0.3)):
            _spread(net, module, spread)
    if isinstance(module, MaskRCNN):
        _spread_instances(module)
    return module


@torch.no_grad()
def _spread_instances(module: MaskRCNN) -> None:
    """Scale the predictions of the heads so that regions of several levels hold many instances."""
    images = torch.rand(1, 3, 64, 64)
    features = module.backbone(images)
    regions = torch.tensor([[[0.0, 0.0, 64.0, 64.0], [5.0, 9.0, 30.0, 50.0], [20.0, 2.0, 60.0, 22.0]]])
    proposals, boxes, masks = module.head.proposals, module.head.boxes, module.head.masks
    for predict, spread, outputs in (
        (proposals.score_predict, 2.0, lambda: proposals(features)[0][3]),
        (proposals.box_predict, 0.3, lambda: proposals(features)[1][3]),
        (boxes.class_predict, 2.0, lambda: module.classify(features, regions)[0]),
        (boxes.box_predict, 2.0, lambda: module.classify(features, regions)[1]),
        (masks.mask_predict, 2.0, lambda: module.outline(features, regions, torch.zeros(1, 3).long())),
    ):
        nn.init.normal_(predict.weight, std=1.0)
        predict.weight.mul_(spread / outputs().std())


@torch.no_grad()
def _spread(net: nn.Module, module: nn.Module, spread: float) -> None:
    """Scale a subnet's predictions to this deviation, around one score in ten above the threshold."""
    images = torch.rand(1, 3, 64, 64)
    predict = getattr(net.predict, "pointwise", net.predict)
    nn.init.normal_(predict.weight, std=1.0)
    nn.init.zeros_(predict.bias)
    out = torch.cat([net(x, level).flatten() for level, x in module.backbone(images).items()])
    predict.weight.mul_(spread / out.std())
    if spread > 1.0:
        predict.bias.fill_(-6.0)


def assert_same_found(
    found: torch.Tensor,
    boxes: torch.Tensor,
    scores: torch.Tensor,
    labels: torch.Tensor,
    *,
    score: float,
    box: float,
    most_alone: int = 0,
) -> None:
    """Check that two forms of a network find the same, in whichever order those of one score come.

    Args:
        found: `[N, D, 6]`, boxes, score and label; those of score 0 are none.
        boxes: `[N, E, 4]`, of the other form.
        scores: `[N, E]`.
        labels: `[N, E]`.
        score: by how much two scores of the same object may differ.
        box: the same of a coordinate.
        most_alone: objects of an image, of both forms together, that may have no partner: a last bit can
            decide what is suppressed.
    """
    for ours, their_boxes, their_scores, their_labels in zip(found, boxes, scores, labels, strict=True):
        ours, is_theirs = ours[ours[:, 4] > 0], their_scores > 0
        theirs = torch.cat([their_boxes, their_scores[:, None]], dim=1)[is_theirs]
        apart = (ours[:, None, :5] - theirs).abs() / torch.tensor([box] * 4 + [score])
        is_same = (apart.amax(dim=2) <= 1) & (ours[:, None, 5] == their_labels[is_theirs])
        num_alone = int((~is_same.any(dim=1)).sum() + (~is_same.any(dim=0)).sum())
        assert num_alone <= most_alone, f"{num_alone} of {len(ours)} and {len(theirs)} have no partner"
        assert abs(len(ours) - len(theirs)) <= most_alone
