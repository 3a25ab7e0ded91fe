"""What a mutation may do, from the names of the decisions alone."""

from __future__ import annotations

from spinesearch.space import SpineNetSpace


def is_one_change(space: SpineNetSpace, before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Whether one swap, rewired parent, offset or type leads from one allowed sequence to another."""
    names = [decision.name for decision in space.decisions]
    changed = {names[i] for i in range(len(names)) if before[i] != after[i]}
    kinds = {name.split(maxsplit=2)[2] for name in changed}
    blocks = {name.split()[1] for name in changed}
    if kinds <= {"nearer parent", "farther parent"}:
        pairs = [
            {tokens[names.index(f"block {block} {kind} parent")] for kind in ("nearer", "farther")}
            for block in blocks
            for tokens in (before, after)
        ]
        return len(blocks) == 1 and len(pairs[0] & pairs[1]) == 1
    if kinds in ({"level offset"}, {"type"}):
        return len(changed) == 1
    if len(kinds & {"base level", "output level"}) != 1 or len(blocks) != 2:
        return False
    place = {block: [i for i, name in enumerate(names) if name.split()[1] == block] for block in blocks}
    moved = [
        [tokens[i] for i in place[block] if not names[i].endswith("parent")]
        for tokens in (before, after)
        for block in sorted(blocks)
    ]
    return moved[0] == moved[3] and moved[1] == moved[2] and not any("parent" in kind for kind in kinds)
