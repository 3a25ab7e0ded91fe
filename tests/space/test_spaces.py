"""What every space in `conf/space` promises, composed as the command line does it."""

import math
import re
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from spinesearch.search.config.run_config import compose, run_config
from spinesearch.space import (
    MBCONV_STEM,
    OUTPUT_LEVELS,
    R0_SP53,
    SPINENET_49,
    SPINENET_STEM,
    SpecError,
    SpineNetSpace,
)
from spinesearch.space.presets import R23_SP30, SPINENET_MOBILE_49

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "conf" / "space").glob("*.yaml"))


@cache
def composed(name: str) -> SpineNetSpace:
    return run_config(compose([f"space={name}"])).space.build()


# Typed from the paper's table and the sources that the yaml files name: stem, intermediate blocks per level,
# window, offsets, types.
ALL_TYPES = ("bottleneck", "residual")
TABLE = {
    "spinenet": ("22", {2: 1, 3: 3, 4: 5, 5: 1}, 5, (-1, 0, 1, 2), ALL_TYPES),
    "spinenet_cloud": ("22", {2: 1, 3: 3, 4: 5, 5: 2}, 4, (-1, 0, 1, 2), ALL_TYPES),
    "spinenet_v2": ("22", {2: 1, 3: 3, 4: 5, 5: 1}, 4, (-1, 0, 1), ("bottleneck",)),
    "spinenet_mbconv": ("12", {2: 1, 3: 1, 4: 5, 5: 4}, 4, (-1, 0, 1, 2), ("mbconv",)),
    "r0_sp53": ("22", {2: 1, 3: 3, 4: 5, 5: 1}, 5, (0,), ("bottleneck",)),
    "r14_sp39": ("2345", {2: 2, 3: 2, 4: 4}, 5, (0,), ("bottleneck",)),
    "r23_sp30": ("2233445", {2: 1, 3: 1, 4: 3}, 5, (0,), ("bottleneck",)),
    "r35_sp18": ("22333444445", {2: 1}, 5, (0,), ("bottleneck",)),
    "hourglass": ("22", {2: 1, 3: 3, 4: 5, 5: 1}, 5, (0,), ("bottleneck",)),
    "fish": ("22", {2: 1, 3: 3, 4: 5, 5: 1}, 5, (0,), ("bottleneck",)),
}


@pytest.fixture(params=NAMES)
def space(request) -> SpineNetSpace:
    return composed(request.param)


def seeded(space: SpineNetSpace) -> np.random.Generator:
    return np.random.default_rng([len(space.name), NAMES.index(space.name)])


# The files ----------


def test_every_space_is_what_its_source_says():
    assert sorted(TABLE) == NAMES
    for name, (stem, base_levels, window, offsets, types) in TABLE.items():
        space = composed(name)
        assert space.name == name
        assert "".join(str(block.level) for block in space.stem) == stem
        assert {block.block_type for block in space.stem} == {
            "mbconv" if types == ("mbconv",) else "bottleneck"
        }
        assert dict(space.base_levels) == base_levels
        assert (space.window, space.level_offsets, space.block_types) == (window, offsets, types)
        assert (space.fixed_order is not None) == (name in ("hourglass", "fish"))
    assert composed("spinenet") == SpineNetSpace()
    assert composed("spinenet_mbconv").stem == MBCONV_STEM
    assert composed("r23_sp30").stem == R23_SP30.stem


def runs(text: str) -> list[int]:
    """Levels from the paper's notation, as in ``3L2, 1L5``."""
    return [int(level) for count, level in re.findall(r"(\d)L(\d)", text) for _ in range(int(count))]


@pytest.mark.parametrize(
    ("name", "paper"),
    [
        ("hourglass", "3L2, 3L3, 5L4, 1L5, 1L7, 1L6, 1L5, 1L4, 1L3"),
        ("fish", "2L2, 2L3, 3L4, 1L5, 2L4, 1L3, 1L2, 1L3, 1L4, 1L5, 1L6, 1L7"),
    ],
)
def test_fixed_orders_are_the_papers_and_have_the_allocation_of_r0_sp53(name: str, paper: str):
    space = composed(name)
    for tokens in (space.sample(seeded(space)) for _ in range(20)):
        levels = [block.level for block in space.decode(tokens).all_blocks]
        assert levels == runs(paper)
        assert Counter(levels) == Counter(block.level for block in R0_SP53.all_blocks)


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("spinenet", SPINENET_49),
        ("spinenet", R0_SP53),
        ("r0_sp53", R0_SP53),
        ("r23_sp30", R23_SP30),
        ("spinenet_mbconv", SPINENET_MOBILE_49),
    ],
)
def test_published_architectures_are_candidates(name: str, spec):
    assert composed(name).decode(composed(name).encode(spec)) == spec


def test_from_resnet_spaces_keep_the_blocks_of_resnet_50():
    """Stem and searched blocks together, with the L6 and L7 that replace one L5: 3, 4, 6, 3 in all."""
    for name in ("r0_sp53", "r14_sp39", "r23_sp30", "r35_sp18"):
        space = composed(name)
        levels = Counter(b.level for b in space.stem) + Counter(space.base_levels) + Counter(OUTPUT_LEVELS)
        assert [levels[level] for level in (2, 3, 4, 5, 6, 7)] == [3, 4, 6, 2, 1, 1]


def test_sizes_by_hand():
    """Orders times connections times offsets times types, from the table above."""
    for name, (stem, base_levels, window, offsets, types) in TABLE.items():
        n = sum(base_levels.values())
        orders = math.factorial(n) * math.factorial(5)
        for count in base_levels.values():
            orders //= math.factorial(count)
        built = [len(stem) + k for k in range(n + 5)]  # how many blocks stand before each
        pairs = [b * (b - 1) // 2 for b in [min(b, window) for b in built[:n]] + built[n:]]
        # No offset leads out of levels 1..7 from base levels 2..5, so all of them are always allowed.
        free = len(offsets) ** n * len(types) ** (n + 5)
        size = (1 if name in ("hourglass", "fish") else orders) * math.prod(pairs) * free
        assert composed(name).size == size


def test_the_documentation_lists_every_space_with_its_exact_size():
    text = (ROOT / "docs" / "spaces.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \| (\d+) \|", text, re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == NAMES
    for name, size, num_decisions in rows:
        assert f"{composed(name).size:,}" == size
        assert len(composed(name).decisions) == int(num_decisions)


# What every space promises ----------


def test_decode_encode_round_trip_over_thousands(space: SpineNetSpace):
    rng = seeded(space)
    for _ in range(400):
        tokens = space.sample(rng)
        spec = space.decode(tokens)
        encoded = space.encode(spec)
        assert space.decode(encoded) == spec
        if len(space.level_offsets) == 1:  # else several sums of base level and offset are one level
            assert encoded == tokens


def test_specs_stand_at_the_levels_and_have_the_types_of_their_space(space: SpineNetSpace):
    rng = seeded(space)
    levels, types = set(), set()
    for _ in range(300):
        spec = space.decode(space.sample(rng))
        assert spec.stem == space.stem
        assert len(spec.blocks) == space.num_blocks == space.num_intermediate + len(OUTPUT_LEVELS)
        levels |= {block.level for block in spec.all_blocks}
        types |= {block.block_type for block in spec.blocks}
        for i, block in enumerate(spec.blocks, start=len(spec.stem)):
            if not block.is_output and space.window is not None:
                assert min(block.parents) >= i - space.window
    assert levels == space.levels
    assert types == set(space.block_types)


def test_masked_random_walks_decode_and_anything_else_does_not(space: SpineNetSpace):
    rng = seeded(space)
    assert space.num_choices == tuple(decision.num_choices for decision in space.decisions)
    assert len({decision.name for decision in space.decisions}) == len(space.decisions)
    for _ in range(100):
        tokens: list[int] = []
        for num_choices in space.num_choices:
            mask = space.choice_mask(tokens)
            assert len(mask) == num_choices
            assert all(type(allowed) is bool for allowed in mask)
            tokens.append(int(rng.choice(np.flatnonzero(mask))))
        space.decode(tokens)
        position = int(rng.integers(len(tokens)))
        mask = space.choice_mask(tokens[:position])
        banned = [c for c, allowed in enumerate(mask) if not allowed] + [-1, len(mask)]
        broken = [*tokens[:position], int(rng.choice(banned)), *tokens[position + 1 :]]
        name = re.escape(space.decisions[position].name)
        with pytest.raises(SpecError, match=rf"decision {position} \({name}\) allows "):
            space.decode(broken)


def test_a_sample_is_what_the_masks_allow(space: SpineNetSpace):
    rng = seeded(space)
    for _ in range(100):
        tokens = space.sample(rng)
        assert all(type(token) is int for token in tokens)
        assert all(space.choice_mask(tokens[:i])[token] for i, token in enumerate(tokens))


def test_choice_weights_make_every_sequence_equally_likely(space: SpineNetSpace):
    rng = seeded(space)
    assert sum(space.choice_weights(())) == space.size
    for _ in range(40):
        tokens, log_prob = space.sample(rng), 0.0
        for i, token in enumerate(tokens):
            weights = space.choice_weights(tokens[:i])
            # What a choice leaves open is what the next decision divides up.
            following = sum(space.choice_weights(tokens[: i + 1])) if i + 1 < len(tokens) else 1
            assert weights[token] == following
            log_prob += math.log(weights[token]) - math.log(sum(weights))
        assert log_prob == pytest.approx(-math.log(space.size), rel=1e-12)


def test_mutations_stay_in_the_space_and_give_other_networks(space: SpineNetSpace):
    rng = seeded(space)
    tokens = space.sample(rng)
    for _ in range(40):
        mutated = space.mutate(tokens, rng)
        assert space.decode(mutated).arch_id != space.decode(tokens).arch_id
        tokens = mutated


def test_tokens_may_be_numpy_integers(space: SpineNetSpace):
    tokens = space.sample(seeded(space))
    spec = space.decode(tokens)
    for form in (np.array(tokens), np.array(tokens, dtype=np.int8), list(np.array(tokens))):
        assert space.decode(form) == spec
        for i in range(len(tokens)):
            mask = space.choice_mask(form[:i])
            assert mask == space.choice_mask(tokens[:i])
            assert all(type(allowed) is bool for allowed in mask)
            assert all(type(weight) is int for weight in space.choice_weights(form[:i]))
    with pytest.raises(TypeError):
        space.decode([float(token) for token in tokens])


def test_another_number_of_tokens_is_refused(space: SpineNetSpace):
    tokens = space.sample(seeded(space))
    for wrong in ((), tokens[:-1], (*tokens, 0)):
        with pytest.raises(SpecError, match=f"{space.name} has {len(tokens)} decisions, got {len(wrong)}"):
            space.decode(wrong)


def test_equal_generators_give_equal_samples(space: SpineNetSpace):
    first = [space.sample(np.random.default_rng(5)) for _ in range(2)]
    assert first[0] == first[1]
    assert first[0] != space.sample(np.random.default_rng(6))


def test_stems_are_no_part_of_what_is_searched():
    assert composed("spinenet").stem == SPINENET_STEM
    for space in map(composed, NAMES):
        assert all(int(decision.name.split()[1]) >= len(space.stem) for decision in space.decisions)
