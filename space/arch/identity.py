"""The canonical form of a spec, and its hash: equal networks get one `arch_id`.

What a network computes depends on the graph alone: parents are a set, the order in which blocks were written
matters only through the features that an output block picks up unresampled, and a block that no output
depends on changes nothing. The canonical form is therefore the live graph, labelled in an order that depends
on its structure only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

from spinesearch.space.arch.block import BlockSpec

_ID_DIGITS = 12  # 48 bits: two of 100,000 different networks share an id with probability 2e-5


class BlockGraph(Protocol):
    """What identity depends on: an `ArchSpec`, whose members of these names say more."""

    @property
    def stem(self) -> Sequence[BlockSpec]:
        """The fixed blocks, ids 0 and up."""

    @property
    def output_ids(self) -> Mapping[int, int]:
        """Block id of the output at each level."""

    @property
    def all_blocks(self) -> Sequence[BlockSpec]:
        """All blocks, by id."""

    def unresampled_inputs(self) -> Sequence[Sequence[int]]:
        """Ids of the features added as they are to each block's input."""

    def __len__(self) -> int: ...

    def __hash__(self) -> int: ...


class _Node(NamedTuple):
    """One live block: what it is, the features it resamples, those it adds as they are, and its readers.

    Blocks of equal nodes are twins. Neither reads the other, for it would then read itself too; every reader
    of one reads both. So exchanging the two maps the graph onto itself.
    """

    label: tuple[Hashable, ...]
    parents: frozenset[int]
    unresampled: frozenset[int]
    children: frozenset[tuple[int, str]]  # with the kind of edge


def canonical_form(spec: BlockGraph) -> list[list[object]]:
    """The live graph as nested lists, the same for every spec that builds the same network.

    Returns:
        Per live block, in an order that follows from the structure: level, type, role (``stem`` with its
        place in the chain, ``output`` or ``intermediate``), the positions of its resampled parents, and those
        of the features added unresampled.
    """
    graph = _live_graph(spec)
    colours = _refine(graph, {i: node.label for i, node in graph.items()})
    return _smallest_encoding(graph, colours)


@lru_cache(maxsize=1024)  # a candidate is asked for it several times, the parent of a mutation once per child
def arch_id(spec: BlockGraph) -> str:
    """12 hexadecimal digits of the SHA-256 of the canonical form."""
    text = json.dumps(canonical_form(spec), separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_DIGITS]


def is_same_network(a: BlockGraph, b: BlockGraph) -> bool:
    """Whether two specs have one `arch_id`; most that differ do so at a first look, which is cheap."""
    return _first_look(a) == _first_look(b) and arch_id(a) == arch_id(b)


@lru_cache(maxsize=1024)
def _first_look(spec: BlockGraph) -> list[tuple[object, ...]]:
    """What each live block is, with what feeds it: equal for equal networks."""
    blocks, num_stem, extra = spec.all_blocks, len(spec.stem), spec.unresampled_inputs()
    live = live_blocks(spec, extra)
    labels = {}
    for i in live:
        block = blocks[i]
        labels[i] = (block.level, block.block_type, i if i < num_stem else -1, block.is_output)
    return sorted(
        [
            (labels[i], sorted([labels[j] for j in blocks[i].parents]), sorted([labels[j] for j in extra[i]]))
            for i in live
        ]
    )


def live_blocks(spec: BlockGraph, unresampled: Sequence[Sequence[int]] | None = None) -> frozenset[int]:
    """Ids of the blocks that some output depends on, the stem's included.

    Args:
        spec: the graph.
        unresampled: its `unresampled_inputs`, if they are at hand.
    """
    blocks, num_stem = spec.all_blocks, len(spec.stem)
    unresampled = spec.unresampled_inputs() if unresampled is None else unresampled
    live = set(spec.output_ids.values())
    for i in range(len(blocks) - 1, num_stem - 1, -1):
        if i in live:
            live.update(blocks[i].parents, unresampled[i])
    # A stem block feeds the next, so all below the highest live one are live too.
    live.update(range(max([i for i in live if i < num_stem], default=-1) + 1))
    return frozenset(live)


def _live_graph(spec: BlockGraph) -> dict[int, _Node]:
    blocks, extra = spec.all_blocks, spec.unresampled_inputs()
    live = sorted(live_blocks(spec, extra))
    children: dict[int, set[tuple[int, str]]] = {i: set() for i in live}
    for i in live:
        for parent in blocks[i].parents:
            children[parent].add((i, "resampled"))
        for parent in extra[i]:
            children[parent].add((i, "unresampled"))
    graph = {}
    for i in live:
        block = blocks[i]
        role: Hashable = (
            ("stem", i) if i < len(spec.stem) else ("output" if block.is_output else "intermediate")
        )
        label = (block.level, block.block_type, str(role))
        graph[i] = _Node(label, frozenset(block.parents), frozenset(extra[i]), frozenset(children[i]))
    return graph


def _refine(graph: Mapping[int, _Node], colours: Mapping[int, Hashable]) -> dict[int, int]:
    """Colour refinement (Weisfeiler-Leman) over parents and children until no class splits."""
    ranks = _ranked(colours)
    while True:
        signatures = {
            i: (
                ranks[i],
                tuple(sorted(ranks[p] for p in node.parents)),
                tuple(sorted(ranks[p] for p in node.unresampled)),
                tuple(sorted((ranks[c], kind) for c, kind in node.children)),
            )
            for i, node in graph.items()
        }
        refined = _ranked(signatures)
        if len(set(refined.values())) == len(set(ranks.values())):
            return refined
        ranks = refined


def _ranked(colours: Mapping[int, Hashable]) -> dict[int, int]:
    # One kind of colour at a time, all of it comparable; Hashable does not say so.
    order = {colour: rank for rank, colour in enumerate(sorted(set(colours.values())))}  # type: ignore[type-var]
    return {i: order[colour] for i, colour in colours.items()}


def _smallest_encoding(graph: Mapping[int, _Node], colours: Mapping[int, int]) -> list[list[object]]:
    """Encoding under a colouring without ties; ties are broken each way and the smallest result kept.

    Of the ways that an automorphism carries into each other one is enough. Both rules below are exact: they
    leave out only ways whose every encoding another way gives too.
    """
    # Twins: exchanging two of equal colour is an automorphism that keeps all colours, and it carries breaking
    # the tie at one into breaking it at the other. So one of each class of twins is tried.
    #
    # Other symmetries (two chains alike, say) show in the result: if two ways lead to first leaves of equal
    # encoding, then matching the blocks of equal positions is an automorphism. Refinement only splits
    # classes and keeps their order, so it keeps the colours; the chosen block is the first of its class, so
    # it carries one choice into the other.
    while tied := _first_tie(colours):
        one_of_each = {graph[i]: i for i in tied}.values()
        ways = [_break_tie(graph, colours, chosen) for chosen in one_of_each]
        if len(ways) > 1:
            ways = list({_first_leaf(graph, way): way for way in ways}.values())
        if len(ways) > 1:
            return min((_smallest_encoding(graph, way) for way in ways), key=json.dumps)
        colours = ways[0]
    return _encoding(graph, colours)


def _first_tie(colours: Mapping[int, int]) -> list[int]:
    """The blocks of the lowest colour that several share; none if all differ."""
    by_colour: dict[int, list[int]] = {}
    for i, colour in colours.items():
        by_colour.setdefault(colour, []).append(i)
    return next((by_colour[colour] for colour in sorted(by_colour) if len(by_colour[colour]) > 1), [])


def _break_tie(graph: Mapping[int, _Node], colours: Mapping[int, int], chosen: int) -> dict[int, int]:
    """The colouring with one block put before the others of its colour, refined."""
    return _refine(graph, {i: (colour, i != chosen) for i, colour in colours.items()})


def _first_leaf(graph: Mapping[int, _Node], colours: Mapping[int, int]) -> str:
    """The encoding, as text, that breaking every tie at its first block leads to."""
    while tied := _first_tie(colours):
        colours = _break_tie(graph, colours, tied[0])
    return json.dumps(_encoding(graph, colours))


def _encoding(graph: Mapping[int, _Node], position: Mapping[int, int]) -> list[list[object]]:
    return [
        [
            *node.label,
            sorted(position[p] for p in node.parents),
            sorted(position[p] for p in node.unresampled),
        ]
        for _, node in sorted(graph.items(), key=lambda item: position[item[0]])
    ]
