"""One change that gives another network; tests/space/test_small_spaces.py walks small spaces whole."""

import re

import numpy as np
import pytest
from one_change import is_one_change

from spinesearch.space import SPINENET_49, ArchSpec, SpecError, SpineNetSpace
from spinesearch.space.neighbours import KINDS, mutate


def test_changes_of_spinenet_49_by_hand():
    space = SpineNetSpace()
    tokens = space.encode(SPINENET_49)
    changes = {kind: list(changes(space._layout, tokens)) for kind, changes in KINDS.items()}
    # Base levels 2, 3, 3, 3, 4 x 5 and 5: all pairs less those of one level; and pairs of the five outputs.
    assert len(changes["order"]) == 10 * 9 // 2 - 3 - 10 + 10
    # Two parents, each replaced by any of the others in reach: 0 of 2, 1 of 3, 2 of 4, 3 of 5; outputs.
    assert len(changes["connection"]) == 2 * (0 + 1 + 2 + 3 * 7 + 10 + 11 + 12 + 13 + 14)
    assert len(changes["offset"]) == 10 * 3  # base levels 2..5 bear every offset
    assert len(changes["type"]) == 15


def test_a_mutation_is_one_allowed_change_of_each_kind_in_turn():
    space, rng = SpineNetSpace(), np.random.default_rng(0)
    names = [decision.name for decision in space.decisions]
    tokens, kinds = space.sample(rng), []
    for _ in range(300):
        mutated = space.mutate(tokens, rng)
        assert is_one_change(space, tokens, mutated)
        assert space.decode(mutated).arch_id != space.decode(tokens).arch_id
        changed = {names[i].split(maxsplit=2)[2] for i in range(len(names)) if tokens[i] != mutated[i]}
        kinds.append(min(changed))
        tokens = mutated
    # Four kinds, evenly: of 300 each has 75 in the mean with deviation 7.5; a swap is named by its least.
    assert 40 < sum("parent" in kind for kind in kinds) < 110
    assert 40 < sum(kind in ("base level", "output level") for kind in kinds) < 110


def test_equal_generators_give_equal_mutations():
    space = SpineNetSpace()
    tokens = space.encode(SPINENET_49)
    first = [space.mutate(tokens, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert first[0] == first[1] != first[2]
    assert all(type(token) is int for token in space.mutate(np.array(tokens), np.random.default_rng(1)))


def test_a_space_without_neighbours_says_so_after_as_many_tries_as_there_are_changes():
    space, tries = SpineNetSpace(), []

    def decode(tokens: object) -> ArchSpec:
        tries.append(tokens)
        return SPINENET_49

    tokens = space.encode(SPINENET_49)
    with pytest.raises(SpecError, match=r"no single change of .* another network than af6e18860979; draw"):
        mutate(space._layout, tokens, np.random.default_rng(0), decode)
    num_changes = sum(len(list(changes(space._layout, tokens))) for changes in KINDS.values())
    assert len(tries) == len(set(tries)) == 1 + num_changes


def test_choices_that_are_not_allowed_are_refused():
    space = SpineNetSpace()
    tokens = space.encode(SPINENET_49)
    with pytest.raises(SpecError, match=re.escape("decision 0 (block 2 base level) allows [0, 1, 2, 3]")):
        space.mutate((9, *tokens[1:]), np.random.default_rng(0))
