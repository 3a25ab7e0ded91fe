"""Figures of a network: typed out for SpineNet-49, and the same for every way of writing one network down."""

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from reordered import reordered

from spinesearch.search.config.run_config import compose, run_config
from spinesearch.space import SPINENET_49, ArchSpec, BlockSpec, SpineNetSpace, backbone_cost
from spinesearch.space.arch.identity import live_blocks
from spinesearch.space.features import FEATURE_NAMES, NUM_SHAPES, features

# Read off the blocks in `space/presets.py` by hand, in their order: block after block its two connections.
CONNECTIONS = "22 22 24 24 23 43 24 34 46 46 44 44 65 45 67 57 55 75 55 55 44 54 33 53 45 45 47 57 46 56"
BLOCKS = {2: 1, 3: 2, 4: 4, 5: 4, 6: 2, 7: 2}
RESIDUALS = {4: 1, 5: 1, 6: 1, 7: 1}
OUTPUT_FIGURES = {
    "is residual": (0, 0, 0, 0, 0),
    "unresampled": (0, 0, 1, 0, 0),  # block 11 at P5
    "shortest path": (4, 4, 4, 5, 4),
    "longest path": (10, 10, 11, 12, 12),
    "ancestors": (10, 10, 12, 13, 13),
    "finest way": (3, 4, 4, 4, 4),
    "finest parent": (0, 0, -1, -2, -3),
    "coarsest parent": (2, 1, -1, -1, -2),
}


def named(spec: ArchSpec) -> dict[str, float]:
    return dict(zip(FEATURE_NAMES, features(spec), strict=True))


def test_spinenet_49_by_hand():
    found = named(SPINENET_49)
    for level in range(1, 8):
        assert found[f"blocks at L{level}"] == BLOCKS.get(level, 0)
        assert found[f"residual blocks at L{level}"] == RESIDUALS.get(level, 0)
        for other in range(1, 8):
            assert found[f"L{level} to L{other}"] == CONNECTIONS.split().count(f"{level}{other}")
    spans = [int(b) - int(a) for a, b in CONNECTIONS.split()]
    assert found["levels up"] == sum(span for span in spans if span > 0) == 26
    assert found["levels down"] == -sum(span for span in spans if span < 0) == 7
    for figure, values in OUTPUT_FIGURES.items():
        assert tuple(found[f"P{level} {figure}"] for level in (3, 4, 5, 6, 7)) == values
    # P3 reads blocks 4 and 10. From block 0 on there are so many ways: 1 1 2 2 4 6 8 8 16 24 40.
    assert found["P3 log paths"] == math.log(4 + 40)
    # P3 depends on itself and on blocks 2 .. 10.
    assert found["P3 mean ancestor level"] == (3 + 2 + 4 + 3 + 4 + 6 + 4 + 5 + 7 + 5) / 10
    # Block 13 reads an L3 and an L5: these read L2 L4 and L5 L7; and so on.
    assert found["L7 to L3 in two"] == 1
    assert found["L4 to L5 in two"] == 9
    in_two = [found[name] for name in FEATURE_NAMES if name.endswith("in two")]
    assert sum(in_two) == 2 * (30 - 4)  # four connections begin at the stem, which has no parents
    for n in (1, 2):
        assert sum(found[f"shape {n}.{shape:02}"] for shape in range(NUM_SHAPES)) == 15
    cost = backbone_cost(SPINENET_49, 640)
    assert found["log parameters"] == math.log(cost.parameters)
    assert found["log multiply-adds"] == math.log(cost.multiply_adds)


@pytest.mark.parametrize("name", ["spinenet", "spinenet_v2", "spinenet_mbconv", "r14_sp39", "hourglass"])
def test_another_way_of_writing_a_network_down_changes_nothing(name: str):
    space, rng = run_config(compose([f"space={name}"])).space.build(), np.random.default_rng(3)
    seen = set()
    for _ in range(40):
        tokens = space.sample(rng)
        spec = space.decode(tokens)
        found = space.features(tokens)
        assert found == features(spec) == features(reordered(spec, rng))
        assert len(found) == len(FEATURE_NAMES)
        assert all(type(value) is float and math.isfinite(value) for value in found)
        seen.add(found)
    assert len(seen) > 35


def test_specs_of_one_identity_have_one_vector():
    """Level and type of a block that no output depends on are free, unless an output then picks it up."""
    space, rng = SpineNetSpace(), np.random.default_rng(4)
    num_alike = 0
    for spec in (space.decode(space.sample(rng)) for _ in range(150)):
        for i in set(range(2, len(spec))) - live_blocks(spec):
            for level, block_type in ((1, "bottleneck"), (3, "residual"), (7, "bottleneck")):
                blocks = list(spec.blocks)
                blocks[i - 2] = replace(blocks[i - 2], level=level, block_type=block_type)
                other = replace(spec, blocks=tuple(blocks))
                assert (features(other) == features(spec)) == (other.arch_id == spec.arch_id)
                num_alike += other.arch_id == spec.arch_id
    assert num_alike > 100


def test_what_nothing_depends_on_has_no_part_but_still_reads():
    def arch(*blocks: BlockSpec) -> ArchSpec:
        outputs = [BlockSpec(level=level, parents=(0, 1), is_output=True) for level in (3, 4, 5, 6, 7)]
        return ArchSpec(blocks=(*blocks, *outputs))

    picked_up = arch(BlockSpec(level=3, parents=(0, 1)))
    hidden = arch(BlockSpec(level=3, parents=(0, 1)), BlockSpec(level=2, parents=(0, 2)))
    assert named(picked_up)["P3 unresampled"] == named(picked_up)["blocks at L3"] - 1 == 1
    assert features(hidden) == features(arch()) != features(picked_up)


def test_nearly_every_change_shows():
    space, rng = SpineNetSpace(), np.random.default_rng(5)
    for _ in range(200):
        tokens = space.sample(rng)
        assert space.features(space.mutate(tokens, rng)) != space.features(tokens)


def test_a_fresh_process_gives_the_same_figures():
    code = (
        "from spinesearch.space import SPINENET_49\n"
        "from spinesearch.space.features import features\n"
        "print(*features(SPINENET_49), sep=',')"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert tuple(map(float, answer.split(","))) == features(SPINENET_49)
