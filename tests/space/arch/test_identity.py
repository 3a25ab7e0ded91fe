"""Equal networks, equal ids: relabelled and padded specs, and a brute-force isomorphism test."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from long_suite import few
from reordered import reordered

from spinesearch.space import SPINENET_49, ArchSpec, BlockSpec, SpineNetSpace
from spinesearch.space.arch import identity
from spinesearch.space.arch.identity import canonical_form, is_same_network, live_blocks


def test_order_of_blocks_and_parents_does_not_matter():
    space, rng = SpineNetSpace(), np.random.default_rng(1)
    for _ in range(300):
        spec = space.decode(space.sample(rng))
        # Outputs pick features up in order, so only intermediate blocks may be moved freely.
        other = reordered(spec, rng)
        assert other.arch_id == spec.arch_id
        assert is_same_network(other, spec)


def test_ids_are_pinned():
    # A change of these values orphans every ledger and export: it needs a new schema version.
    assert SPINENET_49.arch_id == "af6e18860979"


def test_any_change_that_matters_changes_the_id():
    space, rng = SpineNetSpace(), np.random.default_rng(2)
    for _ in range(100):
        spec = space.decode(space.sample(rng))
        live = live_blocks(spec)
        for i in range(2, len(spec)):
            block = spec.block(i)
            if block.is_output:
                continue
            other_type = "residual" if block.block_type == "bottleneck" else "bottleneck"
            blocks = list(spec.blocks)
            blocks[i - 2] = replace(block, block_type=other_type)
            changed = replace(spec, blocks=tuple(blocks))
            if i in live or i in live_blocks(changed):
                assert changed.arch_id != spec.arch_id


def test_a_block_that_no_output_depends_on_changes_nothing():
    # Block 2 is read by nobody and matches no output (level 2): leaving it out gives the same network.
    def small(blocks: list[BlockSpec]) -> ArchSpec:
        first = 2 + len(blocks)
        outputs = [BlockSpec(level=level, parents=(0, 1), is_output=True) for level in (3, 4, 5, 6)]
        last = BlockSpec(level=7, parents=(first, first + 1), is_output=True)
        return ArchSpec(blocks=(*blocks, *outputs, last))

    dead = small([BlockSpec(level=2, parents=(0, 1))])
    assert 2 not in live_blocks(dead)
    assert dead.arch_id == small([]).arch_id
    # At level 3 the first output picks it up unresampled, so it counts.
    picked_up = small([BlockSpec(level=3, parents=(0, 1))])
    assert 2 in live_blocks(picked_up)
    assert picked_up.arch_id != small([]).arch_id
    # A dead block still reads: what it read is not picked up any more.
    hidden = small([BlockSpec(level=3, parents=(0, 1)), BlockSpec(level=2, parents=(0, 2))])
    assert hidden.arch_id == small([]).arch_id


def test_sharing_a_block_is_not_the_same_as_having_two_alike():
    # X and Y read one block twice, or twins: ancestors look alike from every node, the networks differ.
    def arch(x: tuple[int, int], y: tuple[int, int], z: tuple[int, int]) -> ArchSpec:
        twin = BlockSpec(level=4, block_type="residual", parents=(0, 1))
        blocks = [twin, twin, BlockSpec(level=3, block_type="residual", parents=(0, 1))]
        outputs = [
            BlockSpec(level=3, parents=x, is_output=True),
            BlockSpec(level=4, parents=y, is_output=True),
            BlockSpec(level=5, parents=z, is_output=True),
            BlockSpec(level=6, parents=(0, 1), is_output=True),
            BlockSpec(level=7, parents=(0, 1), is_output=True),
        ]
        return ArchSpec(blocks=(*blocks, *outputs))

    shared_by_xy, shared_by_xz = arch((2, 4), (2, 4), (3, 4)), arch((2, 4), (3, 4), (2, 4))
    assert shared_by_xy.arch_id != shared_by_xz.arch_id
    assert not is_same_network(shared_by_xy, shared_by_xz)  # which look alike
    assert arch((2, 4), (2, 4), (3, 4)).arch_id == arch((3, 4), (3, 4), (2, 4)).arch_id


@pytest.mark.parametrize("seed", few(range(20), 6))
def test_ids_agree_with_brute_force_isomorphism(seed: int):
    """Few kinds of three blocks, so that equal graphs are common: ids are equal iff a relabelling exists."""
    rng = np.random.default_rng(seed)

    def graph(spec: ArchSpec) -> tuple[dict[int, tuple[object, ...]], frozenset[int]]:
        extra = spec.unresampled_inputs()
        live = live_blocks(spec)
        nodes = {}
        for i in live:
            block = spec.block(i)
            kind = f"stem{i}" if i < 2 else "output" if block.is_output else "plain"
            nodes[i] = (block.level, block.block_type, kind, frozenset(block.parents), frozenset(extra[i]))
        return nodes, live

    def isomorphic(a: ArchSpec, b: ArchSpec) -> bool:
        (left, left_ids), (right, right_ids) = graph(a), graph(b)
        left_free = [i for i in left_ids if i >= 2]
        right_free = [i for i in right_ids if i >= 2]
        if len(left_free) != len(right_free):
            return False
        # Outputs differ by level, so only the intermediates can be matched in several ways.
        fixed = {0: 0, 1: 1}
        for i in left_free:
            if a.block(i).is_output:
                fixed[i] = b.output_ids[a.block(i).level]
        plain_left = [i for i in left_free if not a.block(i).is_output]
        plain_right = [i for i in right_free if not b.block(i).is_output]
        for images in itertools.permutations(plain_right):
            to = fixed | dict(zip(plain_left, images, strict=True))
            if all(
                (*left[i][:3], frozenset(to[p] for p in left[i][3]), frozenset(to[p] for p in left[i][4]))
                == right[to[i]]
                for i in left
            ):
                return True
        return False

    space = SpineNetSpace(base_levels={4: 3}, level_offsets=(0,), block_types=("bottleneck",), window=2)
    base = space.decode(space.sample(rng))
    fixed_outputs = base.blocks[3:]
    specs = []
    for _ in range(25):
        blocks = []
        for i in range(2, 5):
            parents = sorted(rng.choice(i, size=2, replace=False).tolist())
            kind = ("bottleneck", "residual")[int(rng.integers(2))]
            blocks.append(BlockSpec(level=int(rng.integers(3, 5)), block_type=kind, parents=tuple(parents)))
        specs.append(replace(base, blocks=(*blocks, *fixed_outputs)))
    # Chance alone makes no equal pair for some seeds; these make eight at least.
    specs += [reordered(spec, rng) for spec in specs[:8]]
    equal = 0
    for a, b in itertools.combinations(specs, 2):
        same = isomorphic(a, b)
        equal += same
        assert (a.arch_id == b.arch_id) == same, (canonical_form(a), canonical_form(b))
    assert 8 <= equal < len(specs) * (len(specs) - 1) / 2


def picked_up(blocks: list[BlockSpec]) -> ArchSpec:
    """The blocks, then outputs that read the stem; the one at level 3 adds every unread block there."""
    outputs = [BlockSpec(level=level, parents=(0, 1), is_output=True) for level in (3, 4, 5, 6, 7)]
    return ArchSpec(blocks=(*blocks, *outputs))


def all_ties_broken(graph: Mapping[int, identity._Node], colours: Mapping[int, int]) -> list[list[object]]:
    """What the encoding is by definition: the smallest over every way to break every tie."""
    tied = identity._first_tie(colours)
    if not tied:
        return identity._encoding(graph, colours)
    ways = [identity._break_tie(graph, colours, chosen) for chosen in tied]
    return min((all_ties_broken(graph, way) for way in ways), key=json.dumps)


@pytest.mark.parametrize("num_alike", [10, 20])
@pytest.mark.parametrize("chain", [1, 2], ids=["twins", "chains of two"])
def test_blocks_that_are_alike_do_not_multiply_the_work(num_alike: int, chain: int, monkeypatch):
    """Ten twins have 3.6 million orders, all the same."""
    blocks = [BlockSpec(level=3, parents=(0, 1))] * num_alike
    if chain == 2:
        blocks += [BlockSpec(level=3, parents=(0, 2 + i)) for i in range(num_alike)]
    calls = []
    refine = identity._refine
    monkeypatch.setattr(identity, "_refine", lambda *args: calls.append(args) or refine(*args))
    form = canonical_form(picked_up(blocks))
    assert len(form) == 2 + len(blocks) + 5  # all live
    # Twins: one call for each; chains: a path of at most that many from each choice at each level.
    assert len(calls) <= (num_alike if chain == 1 else num_alike**3)


@pytest.mark.parametrize("seed", few(range(6), 3))
def test_leaving_out_symmetric_ways_changes_no_form(seed: int):
    """Few kinds of six blocks, so that many have ties: twins, chains alike, and blocks only refined alike."""
    rng = np.random.default_rng(seed)
    num_tied = 0
    for _ in range(60):
        blocks: list[BlockSpec] = []
        for i in range(6):
            ids = (0, 1) if i < 3 else tuple(rng.choice([0, *range(2, 2 + i)], size=2, replace=False))
            blocks.append(BlockSpec(level=3, parents=(int(ids[0]), int(ids[1]))))
        spec = picked_up(blocks)
        graph = identity._live_graph(spec)
        colours = identity._refine(graph, {i: node.label for i, node in graph.items()})
        num_tied += bool(identity._first_tie(colours))
        assert canonical_form(spec) == all_ties_broken(graph, colours)
    assert num_tied > 10


def test_blocks_that_refinement_cannot_tell_apart_but_no_symmetry_joins():
    """Readers of pairs of blocks draw graphs: a ring of 3 and one of 4 beside each other, against one of 7.

    Refinement sees seven blocks of two readers each either way.
    """

    def rings(*sizes: int) -> ArchSpec:
        num_points = sum(sizes)
        points = [BlockSpec(level=4, parents=(0, 1))] * num_points
        edges, first = [], 2
        for size in sizes:
            for i in range(size):
                ends = (first + i, first + (i + 1) % size)
                edges.append(BlockSpec(level=3, parents=ends))
            first += size
        return picked_up([*points, *edges])

    assert len({rings(7).arch_id, rings(3, 4).arch_id}) == 2
    assert rings(3, 4).arch_id == rings(4, 3).arch_id
    assert rings(3, 3, 4).arch_id == rings(4, 3, 3).arch_id
    for spec in (rings(7), rings(3, 4)):
        graph = identity._live_graph(spec)
        colours = identity._refine(graph, {i: node.label for i, node in graph.items()})
        assert len(identity._first_tie(colours)) == 7
        assert canonical_form(spec) == all_ties_broken(graph, colours)
