"""Choice sequences one change away from another, and the network of which differs: `mutate`.

A change is of one of four kinds; a space has those that it decides.

- order: two intermediate blocks of different base levels, or two outputs, change places. Base level, offset
  and type go along; connections belong to the places and stay.
- connection: one of the two parents of a block is replaced.
- offset: an intermediate block gets another level offset.
- type: a block gets another type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from spinesearch.space.arch.identity import is_same_network
from spinesearch.space.arch.spec import NUM_PARENTS, ArchSpec, SpecError
from spinesearch.space.layout import ChoiceLayout

if TYPE_CHECKING:
    import numpy as np

Change = dict[int, int]  # new choices by position


def mutate(
    layout: ChoiceLayout,
    tokens: Sequence[int],
    rng: np.random.Generator,
    decode: Callable[[Sequence[int]], ArchSpec],
) -> tuple[int, ...]:
    """The choices after a random change that gives another network.

    A kind is drawn evenly among those that have a change left, then a change of it. One that gives the same
    network (of a block that no output depends on, say) is put aside, so that there are at most as many tries
    as there are changes, some 250 in the paper's space.

    Args:
        layout: of the space.
        tokens: an allowed choice sequence.
        rng: where chance comes from.
        decode: the spec of an allowed choice sequence.

    Raises:
        SpecError: no single change gives another network.
    """
    tokens = tuple(int(token) for token in tokens)
    own = decode(tokens)
    kinds = list(KINDS)
    left: dict[str, list[Change]] = {}
    while kinds:
        kind = kinds[int(rng.integers(len(kinds)))]
        if kind not in left:
            left[kind] = list(KINDS[kind](layout, tokens))
        if not left[kind]:
            kinds.remove(kind)
            continue
        change = left[kind].pop(int(rng.integers(len(left[kind]))))
        changed = tuple(change.get(position, token) for position, token in enumerate(tokens))
        if not is_same_network(decode(changed), own):
            return changed
    raise SpecError(
        "tokens: no single change of order, connection, offset or type gives another network than "
        f"{own.arch_id}; draw a fresh candidate instead"
    )


def _swaps(layout: ChoiceLayout, tokens: Sequence[int]) -> Iterator[Change]:
    n = layout.num_intermediate
    if not layout.parents_start:  # the order is fixed
        return
    for places in (range(n), range(n, layout.parents_start)):
        for i, j in combinations(places, 2):
            if tokens[i] == tokens[j]:
                continue
            starts = [0]
            if layout.types_start > layout.offsets_start and j < n:
                starts.append(layout.offsets_start)
            if layout.end > layout.types_start:
                starts.append(layout.types_start)
            yield {
                start + place: tokens[start + other] for start in starts for place, other in ((i, j), (j, i))
            }


def _rewirings(layout: ChoiceLayout, tokens: Sequence[int]) -> Iterator[Change]:
    for k, reach in enumerate(layout.reach):
        start = layout.parents_start + NUM_PARENTS * k
        pair = tokens[start : start + NUM_PARENTS]
        for kept in pair:
            for new in range(reach):
                if new not in pair:
                    yield {start: min(kept, new), start + 1: max(kept, new)}


def _offsets(layout: ChoiceLayout, tokens: Sequence[int]) -> Iterator[Change]:
    bases = layout.order.decode(tokens)
    for position in range(layout.offsets_start, layout.types_start):
        for choice in layout.offset_choices[bases[position - layout.offsets_start]]:
            if choice != tokens[position]:
                yield {position: choice}


def _types(layout: ChoiceLayout, tokens: Sequence[int]) -> Iterator[Change]:
    for position in range(layout.types_start, layout.end):
        yield from ({position: choice} for choice in range(layout.num_types) if choice != tokens[position])


# Every single change of an allowed choice sequence, by kind; all of them are allowed.
KINDS: Mapping[str, Callable[[ChoiceLayout, Sequence[int]], Iterator[Change]]] = {
    "order": _swaps,
    "connection": _rewirings,
    "offset": _offsets,
    "type": _types,
}
