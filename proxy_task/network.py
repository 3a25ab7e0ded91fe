"""The detector that the proxy task trains for a spec, and what it costs."""

from __future__ import annotations

from typing import Any

from spinesearch.models.heads import detector
from spinesearch.models.heads.anchors import anchors_per_cell
from spinesearch.models.heads.retinanet import RetinaNet
from spinesearch.models.mask_rcnn.detector import MaskRCNN, build_mask_rcnn
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.space import ArchSpec, ResNetSpec
from spinesearch.space.cost.cost import Cost, detector_cost
from spinesearch.space.cost.mask_rcnn import mask_rcnn_cost


def build_detector(
    spec: ArchSpec | ResNetSpec, settings: ProxySettings, *, num_classes: int
) -> RetinaNet | MaskRCNN:
    """The detector that the proxy task trains for a spec, initialised from torch's global generator."""
    build = build_mask_rcnn if settings.needs_masks else detector.build_detector
    return build(
        spec,
        num_classes=num_classes,
        activation=settings.activation,
        bn_momentum=settings.bn_momentum,
        bn_eps=settings.bn_eps,
        stochastic_depth_rate=settings.stochastic_depth_rate,
        **_sizes(spec, settings),
    )


def detector_cost_of(spec: ArchSpec | ResNetSpec, settings: ProxySettings, num_classes: int) -> Cost:
    """What the detector of a spec costs at a setting: what its result records."""
    cost = mask_rcnn_cost if settings.needs_masks else detector_cost
    return cost(spec, settings.image_size, num_classes=num_classes, **_sizes(spec, settings))


def _sizes(spec: ArchSpec | ResNetSpec, settings: ProxySettings) -> dict[str, Any]:
    """What the detector and its cost are functions of, besides the spec and the number of classes.

    A ResNet's depth is that of its spec, and nothing is resampled or fused.
    """
    sizes = {
        "num_anchors": anchors_per_cell(settings.num_scales),
        "head_num_convs": settings.head_num_convs,
        "head_num_filters": settings.head_num_filters,
        "filter_size_scale": settings.filter_size_scale,
        "endpoints_num_filters": settings.endpoints_num_filters,
        "stem_filters": settings.stem_filters,
    }
    if isinstance(spec, ArchSpec):
        sizes |= {name: getattr(settings, name) for name in ("resample_alpha", "block_repeats", "fusion")}
    return sizes
