"""A spec drawn as text: levels down, blocks across, parents below."""

from __future__ import annotations

from collections.abc import Sequence

from spinesearch.space.arch.identity import live_blocks
from spinesearch.space.arch.spec import ArchSpec

_SYMBOLS = {"bottleneck": "B", "residual": "R", "mbconv": "M"}


def draw_spec(spec: ArchSpec, *, max_width: int | None = None) -> str:
    """Text picture of a spec: one row per level, one column per block, parents in the rows below.

    ``B`` is a bottleneck, ``R`` a residual block, ``M`` an MBConv block; ``[B]`` an output, ``(B)`` a stem
    block, which reads the one before it; ``b``, ``r`` or ``m`` one that no output depends on. ``+`` names the
    features an output adds unresampled.

    Args:
        spec: the architecture.
        max_width: characters in a line, above which the columns move together; None for no limit.
    """
    extra = spec.unresampled_inputs()
    live = live_blocks(spec)
    cells = []
    for i, block in enumerate(spec.all_blocks):
        symbol = _SYMBOLS[block.block_type]
        symbol = symbol if i in live else symbol.lower()
        cells.append(f"[{symbol}]" if block.is_output else f"({symbol})" if i < len(spec.stem) else symbol)
    levels = sorted({block.level for block in spec.all_blocks})
    rows = [["block", *(str(i) for i in range(len(spec)))]]
    for level in levels:
        rows.append(
            [
                f"L{level}",
                *(c if b.level == level else "·" for c, b in zip(cells, spec.all_blocks, strict=True)),
            ]
        )
    rows += _stacked("parents", [block.parents for block in spec.all_blocks])
    rows += _stacked("+", extra)
    first = max(len(row[0]) for row in rows)
    width = max(len(cell) for row in rows for cell in row[1:])
    is_wide = max_width is not None and first + (2 + width) * len(spec) > max_width
    gap = " " if is_wide else "  "
    return "\n".join(
        gap.join([row[0].ljust(first), *(c.center(width) for c in row[1:])]).rstrip() for row in rows
    )


def _stacked(label: str, ids: Sequence[Sequence[int]]) -> list[list[str]]:
    """Rows that list each column's ids one below the other."""
    height = max(len(column) for column in ids)
    return [
        [label if k == 0 else "", *(str(column[k]) if k < len(column) else "" for column in ids)]
        for k in range(height)
    ]
