"""What the choices of a space stand for, as plain data: so the page decodes the network of any candidate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spinesearch.space.arch.spec import OUTPUT_LEVELS, SpecError
from spinesearch.space.base import Decision, SearchSpace
from spinesearch.space.spinenet import SpineNetSpace

_FIRST_CODE = 48  # of "0": choice 0


def choice_table(space: SearchSpace) -> dict[str, Any]:
    """How a candidate's blocks follow from its choices.

    Returns:
        ``stem`` and ``types``; ``blocks``, each block after the stem as it is before any choice; and
        ``decisions``, one for each choice: a block's position, the field that it decides, and a value for
        every choice, which is added to a ``level`` or a ``type`` and joins the ``parents``.
    """
    if not isinstance(space, SpineNetSpace):
        raise SpecError(f"space {space.name}: the report knows no way from its choices to blocks")
    types = space.block_types
    levels = list(space.fixed_order or (0,) * space.num_blocks)
    if len(space.level_offsets) == 1:
        for position in range(space.num_intermediate):
            levels[position] += space.level_offsets[0]
    return {
        "stem": [{"level": block.level, "block_type": block.block_type} for block in space.stem],
        "types": list(types),
        "blocks": [
            {"level": level, "is_output": position >= space.num_intermediate}
            for position, level in enumerate(levels)
        ],
        "decisions": [
            [decision.block - len(space.stem), *_meaning(space, decision)] for decision in space.decisions
        ],
    }


def _meaning(space: SpineNetSpace, decision: Decision) -> tuple[str, list[int]]:
    """The field that a decision is about, and the value of every choice."""
    match decision.kind:
        case "base level":
            return "level", sorted(level for level, count in space.base_levels.items() if count)
        case "output level":
            return "level", list(OUTPUT_LEVELS)
        case "level offset":
            return "level", list(space.level_offsets)
        case "type":
            return "type", list(range(len(space.block_types)))
        case _:  # a parent, by its distance back less one
            return "parents", [decision.block - 1 - choice for choice in range(decision.num_choices)]


def packed(tokens: Sequence[int]) -> str:
    """Choices in one character each."""
    return "".join(chr(_FIRST_CODE + choice) for choice in tokens)
