"""What can be built: specs and search spaces. Pure data: no torch, no ray, no I/O beyond JSON."""

from spinesearch.space.arch.draw import draw_spec
from spinesearch.space.arch.pretty import pretty_json
from spinesearch.space.arch.resnet import ResNetSpec
from spinesearch.space.arch.spec import (
    BLOCK_TYPES,
    MBCONV_STEM,
    OUTPUT_LEVELS,
    SPINENET_STEM,
    ArchSpec,
    BlockSpec,
    SpecError,
    load_spec,
)
from spinesearch.space.base import Decision, SearchSpace
from spinesearch.space.cost.cost import Cost, backbone_cost, classifier_cost, detector_cost
from spinesearch.space.presets import (
    PRESETS,
    R0_SP53,
    R23_SP30,
    SPINENET_49,
    SPINENET_MOBILE_49,
    preset,
)
from spinesearch.space.published import PUBLISHED, PublishedModel
from spinesearch.space.spinenet import SpineNetSpace

__all__ = [
    "BLOCK_TYPES",
    "MBCONV_STEM",
    "OUTPUT_LEVELS",
    "PRESETS",
    "PUBLISHED",
    "R0_SP53",
    "R23_SP30",
    "SPINENET_49",
    "SPINENET_MOBILE_49",
    "SPINENET_STEM",
    "ArchSpec",
    "BlockSpec",
    "Cost",
    "Decision",
    "PublishedModel",
    "ResNetSpec",
    "SearchSpace",
    "SpecError",
    "SpineNetSpace",
    "backbone_cost",
    "classifier_cost",
    "detector_cost",
    "draw_spec",
    "load_spec",
    "preset",
    "pretty_json",
]
