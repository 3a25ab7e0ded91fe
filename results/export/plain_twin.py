"""A network of `spinesearch.models` as plain modules with the same weights, which all exports start from."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from spinesearch.models.fusion import SumFusion
from spinesearch.models.heads.classifier import Classifier
from spinesearch.models.mask_rcnn import crop
from spinesearch.models.mask_rcnn.detector import MaskRCNN
from spinesearch.models.resnet_fpn import ResNetFPN
from spinesearch.models.weights.description import Backbone, Headed, Network
from spinesearch.results.export.plain import backbone as plain_backbone
from spinesearch.results.export.plain import boxes, classifier, detector, mask_rcnn
from spinesearch.results.export.plain import fusion as plain_fusion
from spinesearch.results.export.plain import layers as plain_layers
from spinesearch.results.export.plain import resnet as plain_resnet
from spinesearch.results.export.plain.layers import Style
from spinesearch.space.cost.plan import stem_strides
from spinesearch.space.cost.widths import network_widths, resnet_widths

_BASE_ANCHOR = 3.0  # SpineNet-49's, section 5 of the paper
_CHECK_SIZE = 64  # pixels; an image of which both forms are compared on
_CHECK_TOLERANCE = 1e-4  # of the maximum: sums in another order, in float32


def describe_plain(module: Network, *, base_anchor: float | None = None) -> dict[str, Any]:
    """What the plain form of a network is built from: literals only.

    Args:
        module: a backbone, a RetinaNet, a Mask R-CNN or a Classifier.
        base_anchor: side of the smallest anchor of a level, in the level's strides; None for what the
            network was trained with, or the published 3 where it does not say.
    """
    backbone = module.backbone if isinstance(module, Headed) else module
    arguments = backbone.arguments
    style = {name: arguments[name] for name in ("activation", "bn_momentum", "bn_eps", "compat")}
    network: dict[str, Any] = {"style": style, "backbone": _backbone_config(backbone)}
    if isinstance(module, Classifier):
        classes = module.head.num_classes
        network["classifier"] = {"in_channels": backbone.out_channels, "num_classes": classes}
    elif isinstance(module, Headed):
        head = module.head
        network["head"] = {
            "in_channels": backbone.out_channels,
            "num_classes": head.num_classes,
            "num_anchors": head.num_anchors,
            "num_convs": head.arguments["head_num_convs"],
            "num_filters": head.arguments["head_num_filters"],
        }
        if isinstance(module, MaskRCNN):
            network["head"]["num_hidden"] = head.arguments["head_num_hidden"]
        else:
            network["head"]["separable"] = head.arguments["head_is_separable"]
        trained = module.inference.base_anchor if module.inference else _BASE_ANCHOR
        network["base_anchor"] = trained if base_anchor is None else base_anchor
    return network


def plain_twin(module: Network, *, base_anchor: float | None = None) -> nn.Module:
    """The plain form of a network in evaluation mode, float32, on the CPU: an own copy of its weights.

    Raises:
        ValueError: it gives other outputs, since the network was put together in a way of its own.
    """
    network = describe_plain(module, base_anchor=base_anchor)
    style = Style(**network["style"])
    spine = module.backbone if isinstance(module, Headed) else module
    twin: nn.Module = plain_parts(spine)[-1].build_backbone(network["backbone"], style)
    if "head" in network:
        build = mask_rcnn.build_mask_rcnn if isinstance(module, MaskRCNN) else detector.build_detector
        twin = build(twin, network["head"], style, base_anchor=network["base_anchor"])
    if "classifier" in network:
        twin = classifier.build_classifier(twin, network["classifier"])
    twin.load_state_dict(module.state_dict())
    twin.eval()
    _check_alike(module, twin)
    return twin


def kind_of(module: Network) -> str:
    """What a network is called: a backbone, a classifier, a detector or a Mask R-CNN."""
    if isinstance(module, Classifier):
        return "classifier"
    if isinstance(module, MaskRCNN):
        return "Mask R-CNN"
    return "detector" if isinstance(module, Headed) else "backbone"


def head_parts(module: Network) -> list[ModuleType]:
    """The modules that the plain form of a network's head is made of; none of a backbone."""
    return {
        "backbone": [],
        "classifier": [classifier],
        "detector": [boxes, detector],
        "Mask R-CNN": [boxes, crop, mask_rcnn],
    }[kind_of(module)]


def plain_parts(backbone: Backbone) -> list[ModuleType]:
    """The modules that the plain form of a backbone is made of, the last of which builds it."""
    if isinstance(backbone, ResNetFPN):
        return [plain_layers, plain_resnet]
    has_sum = isinstance(backbone.resamples, SumFusion)
    return [plain_layers, plain_backbone, *[plain_fusion] * (not has_sum)]


def _backbone_config(backbone: Backbone) -> dict[str, Any]:
    arguments = backbone.arguments
    rate, endpoints = arguments["stochastic_depth_rate"], arguments["endpoints_num_filters"]
    if isinstance(backbone, ResNetFPN):
        stem, filters = resnet_widths(
            filter_size_scale=arguments.get("filter_size_scale", 1.0),
            stem_filters=arguments.get("stem_filters"),
        )
        return {
            "stem": stem,
            "filters": tuple(filters.values()),
            "num_blocks": backbone.spec.num_blocks,
            "endpoints": endpoints,
            "drop_rate": rate,
        }
    spec, fusion = backbone.spec, arguments.get("fusion", "sum")
    num_stem = len(spec.stem)
    widths = network_widths(
        spec,
        filter_size_scale=arguments["filter_size_scale"],
        resample_alpha=arguments["resample_alpha"],
        stem_filters=arguments["stem_filters"],
        fusion=fusion,
    )
    strides = (*stem_strides(spec), *[1] * len(spec.blocks))
    before = (widths.stem_conv, *widths.channels)  # of the chained stem; a later block takes in a sum
    blocks = [
        {
            "level": block.level,
            "type": block.block_type,
            "parents": block.parents,
            "is_output": block.is_output,
            "channels": (
                before[i] if i < num_stem else widths.channels[i],
                widths.filters[i],
                widths.channels[i],
            ),
            "stride": strides[i],
            "middle": None if spec.is_mbconv else widths.resample[i],
            "drop_rate": rate * max(i + 1 - num_stem, 0) / len(spec.blocks),
        }
        for i, block in enumerate(spec.all_blocks)
    ]
    return {
        "blocks": blocks,
        "num_stem": num_stem,
        "stem_conv": widths.stem_conv,
        "endpoints": endpoints,
        "repeats": arguments["block_repeats"],
        **({} if fusion == "sum" else {"has_attention": fusion == "attention"}),
    }


@torch.no_grad()
def _check_alike(module: nn.Module, twin: nn.Module) -> None:
    weight = next(module.parameters())
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or module.training:
        raise ValueError(
            "module: needs to be in evaluation mode, in float32, on the CPU; load_detector gives that"
        )
    images = torch.rand((1, 3, _CHECK_SIZE, _CHECK_SIZE), generator=torch.Generator().manual_seed(0))
    for want, got in zip(outputs_of(module, images), outputs_of(twin, images), strict=True):
        if not bool(((want - got).abs() <= _CHECK_TOLERANCE * want.abs().max()).all()):
            raise ValueError("module: its plain form gives other outputs, so that it cannot be exported")


def outputs_of(module: nn.Module, images: Tensor) -> list[Tensor]:
    """Features from fine to coarse, a detector's class logits and box deltas, or a classifier's logits.

    Of a Mask R-CNN, or its plain form, the scores and box codes of anchors, the features, and what the heads
    say of some regions: class logits, box codes and mask logits.
    """
    out = module(images)
    if isinstance(out, Tensor):
        return [out]
    if isinstance(out, dict):
        return list(out.values())
    if len(out) == 2:
        return list(out)
    network: Any = module
    scores, codes, features = out
    height, width = images.shape[-2:]
    corners = images.new_tensor([[0.0, 0.0, 1.0, 1.0], [0.1, 0.2, 0.35, 0.3], [0.4, 0.0, 0.5, 0.9]])
    regions = (corners * images.new_tensor([width, height, width, height])).expand(len(images), -1, -1)
    labels = torch.zeros(regions.shape[:2], dtype=torch.int64)
    return [
        *(scores, codes),
        *features.values(),
        *network.classify(features, regions),
        network.outline(features, regions, labels),
    ]


def class_names(module: Network) -> tuple[str, ...]:
    """What a trained network's classes are called, by label; empty if that is not known."""
    known = isinstance(module, Headed) and module.inference
    return known.class_names if known else ()
