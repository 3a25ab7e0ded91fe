"""Spaces of every kind, small enough to be walked whole: size, masks, `decode` and `sample` agree exactly."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from one_change import is_one_change

from spinesearch.space import MBCONV_STEM, BlockSpec, SpecError, SpineNetSpace

ONE_TYPE = {"level_offsets": (0,), "block_types": ("bottleneck",)}
MOBILE = {"stem": MBCONV_STEM, "block_types": ("mbconv",)}
SMALL = {
    "one of each": {"base_levels": {2: 1}, "window": 2, **ONE_TYPE},
    "two orders": {"base_levels": {2: 1, 4: 1}, "window": 3, **ONE_TYPE},
    "types": {"base_levels": {3: 1}, "window": 2, "level_offsets": (0,)},
    "offsets cut at level 7": {
        "base_levels": {6: 1},
        "level_offsets": (0, 1, 2),
        "block_types": ("residual",),
    },
    "mbconv, offsets cut at level 1": {"base_levels": {2: 1}, "level_offsets": (-2, -1, 1), **MOBILE},
    "a stem of three, window 2": {
        "base_levels": {3: 1},
        "window": 2,
        "stem": tuple(BlockSpec(level=level) for level in (2, 2, 3)),
        **ONE_TYPE,
    },
    "a stem of three, no window": {
        "base_levels": {3: 1},
        "window": None,
        "stem": tuple(BlockSpec(level=level) for level in (2, 3, 3)),
        **ONE_TYPE,
    },
    "fixed order": {"base_levels": {2: 1, 5: 1}, "window": 2, "fixed_order": (5, 2, 4, 3), **ONE_TYPE},
    "fixed order, offsets and types": {
        "base_levels": {6: 1},
        "level_offsets": (2, 0, 1),
        "fixed_order": (6, 3, 4),
    },
    "fixed order, mbconv": {
        "base_levels": {5: 2},
        "level_offsets": (0,),
        "fixed_order": (5, 5, 3, 4),
        **MOBILE,
    },
}


@pytest.fixture(params=SMALL)
def small(request, monkeypatch) -> SpineNetSpace:
    """One of them with two outputs instead of five, so that it can be walked."""
    for module in ("arch.spec", "layout", "orders", "space_rules", "spinenet"):
        monkeypatch.setattr(f"spinesearch.space.{module}.OUTPUT_LEVELS", (3, 4))
    return SpineNetSpace(**SMALL[request.param])


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


def test_choice_weights_count_the_completions(small: SpineNetSpace):
    begun = Counter(tokens[:k] for tokens in masked_sequences(small) for k in range(len(tokens) + 1))
    assert sum(small.choice_weights(())) == small.size == begun[()]
    for prefix in begun:
        if len(prefix) < len(small.decisions):
            num_choices = small.num_choices[len(prefix)]
            expected = tuple(begun[(*prefix, choice)] for choice in range(num_choices))
            assert small.choice_weights(prefix) == expected
            assert small.choice_mask(prefix) == tuple(number > 0 for number in expected)


def test_size_counts_and_decode_accepts_exactly_what_the_masks_allow(small: SpineNetSpace):
    allowed = masked_sequences(small)
    assert 2 < len(allowed) == len(set(allowed)) == small.size
    accepted = set()
    for tokens in itertools.product(*(range(n) for n in small.num_choices)):
        try:
            small.decode(tokens)
        except SpecError:
            continue
        accepted.add(tokens)
    assert accepted == set(allowed)
    specs = {small.decode(tokens) for tokens in allowed}
    if len(small.level_offsets) == 1 or len(small.base_levels) == 1:  # else two sums may be one level
        assert len(specs) == small.size
    assert {small.decode(small.encode(spec)) for spec in specs} == specs
    assert {block.level for spec in specs for block in spec.all_blocks} == small.levels


def test_mutation_reaches_every_network_one_change_away_and_no_other(small: SpineNetSpace):
    allowed, rng = masked_sequences(small), np.random.default_rng(5)
    for tokens in (allowed[int(i)] for i in rng.choice(len(allowed), 3)):
        arch_id = small.decode(tokens).arch_id
        expected = {
            other
            for other in allowed
            if is_one_change(small, tokens, other) and small.decode(other).arch_id != arch_id
        }
        # Each is missed with a probability below (1 - 1 / (4 * 20)) ** 1500 = 6e-9.
        assert {small.mutate(tokens, rng) for _ in range(1500)} == expected


def test_sample_is_uniform(small: SpineNetSpace):
    """Chi-square made normal (Wilson and Hilferty): a right sampler fails one seed in 10,000."""
    counts = dict.fromkeys(masked_sequences(small), 0)
    rng = np.random.default_rng(11)
    num_samples = 15 * len(counts)
    for _ in range(num_samples):
        counts[small.sample(rng)] += 1  # a KeyError is a sample that the masks forbid
    expected = num_samples / len(counts)
    statistic = sum((n - expected) ** 2 / expected for n in counts.values())
    freedom = len(counts) - 1
    spread = 2 / (9 * freedom)
    assert abs((statistic / freedom) ** (1 / 3) - (1 - spread)) < 3.9 * math.sqrt(spread)
