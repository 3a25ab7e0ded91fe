"""The network that the proxy task trains for a spec, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spinesearch.models.heads.anchors import anchors_per_cell
from spinesearch.models.heads.classifier import build_classifier
from spinesearch.models.heads.detector import build_detector
from spinesearch.models.mask_rcnn.detector import build_mask_rcnn
from spinesearch.models.weights.description import Headed
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.space import ArchSpec, ResNetSpec
from spinesearch.space.cost.cost import Cost, classifier_cost, detector_cost
from spinesearch.space.cost.mask_rcnn import mask_rcnn_cost
from spinesearch.training.recipe import CLASSIFICATION


def build_model(spec: ArchSpec | ResNetSpec, settings: ProxySettings, *, num_classes: int) -> Headed:
    """The network that the proxy task trains for a spec, initialised from torch's global generator."""
    if settings.task == CLASSIFICATION:
        return build_classifier(spec, num_classes=num_classes, **_layers(settings), **_sizes(spec, settings))
    build: Callable[..., Headed] = build_mask_rcnn if settings.needs_masks else build_detector
    return build(
        spec, num_classes=num_classes, **_layers(settings), **_sizes(spec, settings), **_head_sizes(settings)
    )


def _layers(settings: ProxySettings) -> dict[str, Any]:
    """What all layers of a network have in common."""
    return {
        "activation": settings.activation,
        "bn_momentum": settings.bn_momentum,
        "bn_eps": settings.bn_eps,
        "stochastic_depth_rate": settings.stochastic_depth_rate,
    }


def network_cost_of(spec: ArchSpec | ResNetSpec, settings: ProxySettings, num_classes: int) -> Cost:
    """What the network that is trained for a spec costs at a setting: what its result records."""
    sizes = _sizes(spec, settings)
    if settings.task == CLASSIFICATION:
        return classifier_cost(spec, settings.image_size, num_classes=num_classes, **sizes)
    cost = mask_rcnn_cost if settings.needs_masks else detector_cost
    return cost(spec, settings.image_size, num_classes=num_classes, **sizes, **_head_sizes(settings))


def _head_sizes(settings: ProxySettings) -> dict[str, Any]:
    """What a detector's head and its cost are functions of, besides the number of classes."""
    return {
        "num_anchors": anchors_per_cell(settings.num_scales),
        "head_num_convs": settings.head_num_convs,
        "head_num_filters": settings.head_num_filters,
    }


def _sizes(spec: ArchSpec | ResNetSpec, settings: ProxySettings) -> dict[str, Any]:
    """What the backbone and its cost are functions of, besides the spec.

    A ResNet's depth is that of its spec, and nothing is resampled or fused.
    """
    sizes = {
        "filter_size_scale": settings.filter_size_scale,
        "endpoints_num_filters": settings.endpoints_num_filters,
        "stem_filters": settings.stem_filters,
    }
    if isinstance(spec, ArchSpec):
        sizes |= {name: getattr(settings, name) for name in ("resample_alpha", "block_repeats", "fusion")}
    return sizes
