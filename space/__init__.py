"""What can be built: specs and search spaces. Pure data: no torch, no ray, no I/O beyond JSON."""

from spinesearch.space.base import Decision, SearchSpace
from spinesearch.space.draw import draw_spec
from spinesearch.space.presets import PRESETS, R0_SP53, SPINENET_49, preset
from spinesearch.space.pretty import pretty_json
from spinesearch.space.spec import (
    BLOCK_TYPES,
    MBCONV_STEM,
    OUTPUT_LEVELS,
    SPINENET_STEM,
    ArchSpec,
    BlockSpec,
    SpecError,
    load_spec,
)
from spinesearch.space.spinenet import SpineNetSpace

__all__ = [
    "BLOCK_TYPES",
    "MBCONV_STEM",
    "OUTPUT_LEVELS",
    "PRESETS",
    "R0_SP53",
    "SPINENET_49",
    "SPINENET_STEM",
    "ArchSpec",
    "BlockSpec",
    "Decision",
    "SearchSpace",
    "SpecError",
    "SpineNetSpace",
    "draw_spec",
    "load_spec",
    "preset",
    "pretty_json",
]
