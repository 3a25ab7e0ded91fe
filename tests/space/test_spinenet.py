import itertools
import math

import numpy as np
import pytest

from spinesearch.space import R0_SP53, SPINENET_49, SpecError, SpineNetSpace

SPACE = SpineNetSpace()


def masked_sequences(space: SpineNetSpace) -> list[tuple[int, ...]]:
    """Every complete choice sequence the masks allow, by walking them."""
    sequences: list[tuple[int, ...]] = [()]
    for _ in space.decisions:
        sequences = [
            (*prefix, choice)
            for prefix in sequences
            for choice, allowed in enumerate(space.choice_mask(prefix))
            if allowed
        ]
    return sequences


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


def test_decode_encode_round_trip_over_thousands():
    rng = np.random.default_rng(0)
    for _ in range(3000):
        spec = SPACE.decode(SPACE.sample(rng))
        assert SPACE.decode(SPACE.encode(spec)) == spec


def test_masked_random_walks_decode_and_anything_else_does_not():
    rng = np.random.default_rng(3)
    for _ in range(1000):
        tokens: list[int] = []
        for _ in SPACE.decisions:
            mask = SPACE.choice_mask(tokens)
            assert len(mask) == SPACE.num_choices[len(tokens)]
            tokens.append(int(rng.choice(np.flatnonzero(mask))))
        SPACE.decode(tokens)
        position = int(rng.integers(len(tokens)))
        mask = SPACE.choice_mask(tokens[:position])
        banned = [c for c, allowed in enumerate(mask) if not allowed] + [-1, len(mask)]
        broken = [*tokens[:position], int(rng.choice(banned)), *tokens[position + 1 :]]
        with pytest.raises(SpecError, match=f"decision {position} "):
            SPACE.decode(broken)


@pytest.mark.parametrize(
    "space",
    [
        SpineNetSpace(base_levels={2: 1}, window=2, level_offsets=(0,), block_types=("bottleneck",)),
        SpineNetSpace(base_levels={6: 1}, window=2, level_offsets=(0, 1, 2), block_types=("residual",)),
    ],
    ids=["one offset", "offsets cut at level 7"],
)
def test_size_counts_and_decode_accepts_exactly_what_the_masks_allow(space: SpineNetSpace, monkeypatch):
    """The whole space, walked: outputs reduced to two positions so that it can be."""
    monkeypatch.setattr("spinesearch.space.spinenet.OUTPUT_LEVELS", (3, 4))
    monkeypatch.setattr("spinesearch.space.spec.OUTPUT_LEVELS", (3, 4))
    allowed = masked_sequences(space)
    assert len(allowed) == len(set(allowed)) == space.size
    allowed_set = set(allowed)
    accepted = set()
    for tokens in itertools.product(*(range(n) for n in space.num_choices)):
        try:
            space.decode(tokens)
        except SpecError:
            continue
        accepted.add(tokens)
    assert accepted == allowed_set
    combinations = {
        (tuple(space.decode(tokens).to_tuples()), tokens[0]) for tokens in allowed
    }  # all different choices
    assert len(combinations) == space.size


def test_sample_is_uniform(monkeypatch):
    """Chi-square over a space small enough to count; a right sampler fails one seed in 10,000."""
    monkeypatch.setattr("spinesearch.space.spinenet.OUTPUT_LEVELS", (3, 4))
    monkeypatch.setattr("spinesearch.space.spec.OUTPUT_LEVELS", (3, 4))
    space = SpineNetSpace(
        base_levels={2: 1, 3: 1}, window=2, level_offsets=(-1, -2), block_types=("bottleneck",)
    )
    counts = dict.fromkeys(masked_sequences(space), 0)
    rng = np.random.default_rng(11)
    num_samples = 40 * len(counts)
    for _ in range(num_samples):
        counts[space.sample(rng)] += 1  # a KeyError is a sample that the masks forbid
    expected = num_samples / len(counts)
    statistic = sum((n - expected) ** 2 / expected for n in counts.values())
    freedom = len(counts) - 1
    assert abs(statistic - freedom) < 3.9 * math.sqrt(2 * freedom)


def test_specs_outside_the_space_say_why():
    with pytest.raises(SpecError, match="block 7 reaches 4 back, window 3"):
        SpineNetSpace(window=3).encode(SPINENET_49)
    with pytest.raises(SpecError, match="no assignment of base levels"):
        SpineNetSpace(level_offsets=(0,)).encode(SPINENET_49)
    with pytest.raises(SpecError, match="block 3 is a residual"):
        SpineNetSpace(block_types=("bottleneck",)).encode(SPINENET_49)
    with pytest.raises(SpecError, match="it needs 9 intermediate blocks"):
        SpineNetSpace(base_levels={2: 1, 3: 3, 4: 5}).encode(SPINENET_49)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"base_levels": {3: -1}}, "space.base_levels: the count at level 3 must not be negative"),
        ({"base_levels": {9: 1}}, r"space.level_offsets: one must keep level 9 in 1..7"),
        ({"window": 1}, "space.window: must be at least 2 or null, got 1"),
        ({"level_offsets": (0, 0)}, "space.level_offsets: must all differ"),
        ({"block_types": ("basic",)}, "space.block_types"),
        ({"block_types": ()}, "space.block_types"),
    ],
)
def test_bad_settings(kwargs, message):
    with pytest.raises(SpecError, match=message):
        SpineNetSpace(**kwargs)


def test_wrong_number_of_tokens():
    with pytest.raises(SpecError, match="spinenet has 70 decisions, got 3 choices"):
        SPACE.decode([0, 0, 0])


def test_levels_are_those_that_specs_use():
    assert SPACE.levels == {1, 2, 3, 4, 5, 6, 7}
    assert SpineNetSpace(level_offsets=(0,)).levels == {2, 3, 4, 5, 6, 7}
    assert SpineNetSpace(base_levels={4: 1}, level_offsets=(0,)).levels == {2, 3, 4, 5, 6, 7}
    rng = np.random.default_rng(4)
    seen = {block.level for _ in range(200) for block in SPACE.decode(SPACE.sample(rng)).all_blocks}
    assert seen == SPACE.levels
