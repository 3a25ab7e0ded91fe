"""Costs of random specs and scalings from the spec alone are what torch counts on the built model."""

import random
from typing import Any

import pytest
from counted_costs import our_costs, torch_costs

from spinesearch import ArchSpec, BlockSpec
from spinesearch.space import OUTPUT_LEVELS
from spinesearch.space.cost.fusion import FUSIONS


def random_spec(rng: random.Random) -> ArchSpec:
    """Any valid spec: stems of any depth, dead blocks, outputs in any place, levels in any order."""
    is_mbconv = rng.random() < 0.4

    def block_type() -> str:
        return "mbconv" if is_mbconv else rng.choice(("bottleneck", "residual"))

    level, stem = 1 if is_mbconv else 2, []
    for _ in range(rng.randint(1, 4)):
        level = min(level + rng.randint(0, 1), 7)
        stem.append(BlockSpec(level=level, block_type=block_type()))
    if len(stem) == 1:  # a block needs two parents
        stem.append(BlockSpec(level=level, block_type=block_type()))
    levels = [(rng.randint(1, 7), False) for _ in range(rng.randint(0, 9))]
    levels += [(output, True) for output in OUTPUT_LEVELS]
    rng.shuffle(levels)
    blocks = [
        BlockSpec(
            level=level,
            block_type=block_type(),
            parents=tuple(rng.sample(range(len(stem) + k), 2)),
            is_output=is_output,
        )
        for k, (level, is_output) in enumerate(levels)
    ]
    return ArchSpec(blocks=tuple(blocks), stem=tuple(stem))


def random_arguments(rng: random.Random, spec: ArchSpec) -> dict[str, Any]:
    return {
        "filter_size_scale": rng.uniform(0.13, 1.4),
        "resample_alpha": rng.uniform(0.3, 1.2),
        "endpoints_num_filters": rng.randint(1, 300),
        "block_repeats": rng.randint(1, 3),
        "stem_filters": rng.choice((None, rng.randint(1, 80))),
        "num_classes": rng.randint(1, 91),
        "num_anchors": rng.randint(1, 9),
        "head_num_convs": rng.randint(0, 4),
        "head_num_filters": rng.randint(1, 128),
        "head_is_separable": rng.random() < 0.5,
        "fusion": "sum" if spec.is_mbconv else rng.choice(FUSIONS),
    }


SIZES = [(32, 32), (33, 47), (64, 64), (96, 65), (127, 500), (200, 333), (384, 384), (640, 640), (800, 1333)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_torch_counts_the_same_on_random_specs(seed: int):
    """40 seeds of 5 specs; a spec takes about a third of a second."""
    rng = random.Random(seed)
    for _ in range(5):
        spec = random_spec(rng)
        arguments, size = random_arguments(rng, spec), rng.choice(SIZES)
        assert our_costs(spec, size, arguments) == torch_costs(spec, size, arguments), (spec, arguments, size)
