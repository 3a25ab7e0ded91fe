import hashlib
import math

import numpy as np
import pytest

from spinesearch.space import MBCONV_STEM, R0_SP53, SPINENET_49, BlockSpec, SpecError, SpineNetSpace
from spinesearch.space.presets import SPINENET_MOBILE_49

SPACE = SpineNetSpace()


def test_size_is_the_papers():
    # Section 4 of the reference, no window: 4.35e8 permutations x 8.35e20 connections, 1.25e40 with offsets
    # and types.
    no_window = SpineNetSpace(window=None)
    labelled = math.factorial(1) * math.factorial(3) * math.factorial(5) * math.factorial(1)
    assert math.factorial(10) * math.factorial(5) == pytest.approx(4.35e8, rel=2e-3)
    assert no_window.size * labelled == pytest.approx(1.25e40, rel=1e-3)
    plain = SpineNetSpace(window=None, level_offsets=(0,), block_types=("bottleneck",))
    assert plain.size * labelled / (math.factorial(10) * math.factorial(5)) == pytest.approx(
        8.35e20, rel=1e-3
    )
    assert SPACE.size == 22079264974776705849753600000000000
    assert len(SPACE.decisions) == 70


@pytest.mark.parametrize("spec", [SPINENET_49, R0_SP53], ids=lambda spec: spec.name)
def test_presets_encode_and_decode_back_unchanged(spec):
    assert SPACE.decode(SPACE.encode(spec)) == spec


def test_choice_sequences_are_those_of_the_first_release():
    """Tokens in ledgers and samples by seed stay what they were: pinned before other spaces were added."""
    rng = np.random.default_rng(0)
    samples = [SPACE.sample(rng) for _ in range(1000)]
    assert hashlib.sha256(repr(samples).encode()).hexdigest()[:16] == "30cb7174c3ec1d4e"
    order = (0, 1, 1, 1, 2, 2, 2, 3, 2, 2, 1, 0, 2, 4, 3)
    parents = (0, 1, 1, 2, 0, 1, 0, 2, 0, 2, 1, 3, 0, 1, 0, 2, 0, 1, 0, 2, 1, 6, 2, 8, 1, 6, 0, 9, 1, 3)
    offsets = (1, 2, 1, 2, 3, 1, 2, 3, 2, 2)
    types = (0, 1, 0, 0, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0)
    assert SPACE.encode(SPINENET_49) == (*order, *parents, *offsets, *types)


def test_specs_outside_the_space_say_why():
    with pytest.raises(SpecError, match="block 7 reaches 4 back, window 3"):
        SpineNetSpace(window=3).encode(SPINENET_49)
    levels = r"\[2, 3, 4, 4, 4, 5, 5, 5, 6, 7\] in rising order, .* \[2, 3, 3, 3, 4, 4, 4, 4, 4, 5\] and"
    with pytest.raises(SpecError, match=f"levels of its intermediate blocks, {levels} offsets \\[0\\]"):
        SpineNetSpace(level_offsets=(0,)).encode(SPINENET_49)
    with pytest.raises(SpecError, match="block 3 is a residual"):
        SpineNetSpace(block_types=("bottleneck",)).encode(SPINENET_49)
    with pytest.raises(SpecError, match="it needs 9 intermediate blocks"):
        SpineNetSpace(base_levels={2: 1, 3: 3, 4: 5}).encode(SPINENET_49)
    with pytest.raises(SpecError, match="spec spinenet_mobile49 is not in the space spinenet: its stem"):
        SPACE.encode(SPINENET_MOBILE_49)
    levels = [block.level for block in R0_SP53.blocks]
    assert levels == [2, 3, 3, 4, 4, 3, 5, 4, 4, 4, 3, 4, 5, 7, 6]
    moved = (3, 2, 3, 4, 4, 3, 5, 4, 4, 4, 3, 4, 5, 7, 6)  # the first two
    with pytest.raises(SpecError, match="block 2 is at level 2, in the fixed order at 3"):
        SpineNetSpace(fixed_order=moved, level_offsets=(0,)).encode(R0_SP53)
    with_offsets = SpineNetSpace(fixed_order=moved)
    assert with_offsets.decode(with_offsets.encode(R0_SP53)) == R0_SP53
    moved = (2, 3, 3, 4, 4, 3, 5, 4, 4, 4, 3, 4, 5, 6, 7)  # the last two: an output takes no offset
    with pytest.raises(SpecError, match="block 15 is at level 7, in the fixed order at 6"):
        SpineNetSpace(fixed_order=moved).encode(R0_SP53)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"base_levels": {3: -1}}, "base_levels: the count at level 3 must not be negative, got -1"),
        ({"base_levels": {3: 2.0}}, "base_levels: the count at level 3 must be an integer, got 2.0"),
        ({"base_levels": {3: True}}, "base_levels: the count at level 3 must be an integer, got True"),
        ({"base_levels": {}}, "base_levels: must name 1 to 50 intermediate blocks in all, got {}"),
        ({"base_levels": {4: 51}}, "base_levels: must name 1 to 50 intermediate blocks in all, got {L4: 51}"),
        ({"base_levels": {9: 1}}, "level_offsets: one must keep level 9 in 1..7, got [-1, 0, 1, 2]"),
        ({"level_offsets": (3,)}, "level_offsets: one must keep level 5 in 1..7, got [3]"),
        ({"level_offsets": (0, 0)}, "level_offsets: needs one or more integers that all differ, got [0, 0]"),
        ({"level_offsets": ()}, "level_offsets: needs one or more integers that all differ, got []"),
        ({"level_offsets": (0, True)}, "level_offsets: needs one or more integers that all differ"),
        ({"window": 1}, "window: must be at least 2 or null, got 1"),
        ({"window": 2.0}, "window: must be an integer or null, got 2.0"),
        ({"window": True}, "window: must be an integer or null, got True"),
        ({"block_types": ("basic",)}, "block_types: needs one or more different ones of [bottleneck, resid"),
        ({"block_types": ()}, "block_types: needs one or more different ones of"),
        ({"block_types": ("residual", "residual")}, "block_types: needs one or more different ones of"),
        ({"block_types": ("residual", "mbconv")}, "block_types: mbconv does not mix with other types, got"),
        ({"block_types": ("mbconv",)}, "block_types: mbconv blocks go with a stem of mbconv blocks"),
        ({"stem": MBCONV_STEM}, "block_types: mbconv blocks go with a stem of mbconv blocks, other types"),
        ({"stem": ()}, "stem: needs at least 2 blocks, the parents of the first block after it, got 0"),
        ({"stem": (BlockSpec(level=2),)}, "stem: needs at least 2 blocks"),
        ({"stem": (BlockSpec(level=1), BlockSpec(level=2))}, "stem: stem block 0: level must be 2 or 3"),
        ({"stem": (BlockSpec(level=3), BlockSpec(level=2))}, "stem: stem block 1: level must be 3 or 4"),
        ({"stem": (BlockSpec(level=2, block_type="x"),) * 2}, "stem: block 0: block_type must be one of"),
        ({"fixed_order": (2, 3)}, "fixed_order: needs the levels of 10 intermediate blocks and of 5 outputs"),
        (
            {"base_levels": {2: 1, 3: 1}, "fixed_order": (2, 2, 3, 4, 5, 6, 7)},
            "fixed_order: its first 2 levels must be those of base_levels, {L2: 1, L3: 1}, got {L2: 2}",
        ),
        (
            {"base_levels": {2: 1}, "fixed_order": (2, 3, 4, 5, 6, 6)},
            "fixed_order: its last 5 levels must be each output level once, [L3, L4, L5, L6, L7], got",
        ),
    ],
)
def test_bad_settings(kwargs, message):
    with pytest.raises(SpecError) as caught:
        SpineNetSpace(**kwargs)
    assert str(caught.value).startswith(f"space.{message}")
    assert "\n" not in str(caught.value)


def test_levels_are_those_that_specs_use():
    assert SPACE.levels == {1, 2, 3, 4, 5, 6, 7}
    assert SpineNetSpace(level_offsets=(0,)).levels == {2, 3, 4, 5, 6, 7}
    assert SpineNetSpace(base_levels={4: 1}, level_offsets=(0,)).levels == {2, 3, 4, 5, 6, 7}
    rng = np.random.default_rng(4)
    seen = {block.level for _ in range(200) for block in SPACE.decode(SPACE.sample(rng)).all_blocks}
    assert seen == SPACE.levels
