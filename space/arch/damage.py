"""Networks with fewer connections, for the paper's ablation of the learned ones: `damaged`."""

from __future__ import annotations

from dataclasses import replace

from spinesearch.space.arch.spec import ArchSpec

DAMAGES = ("short", "long", "sequential")


def damaged(spec: ArchSpec, damage: str) -> ArchSpec:
    """The spec with one connection into each block after the stem, by the paper's graph damage.

    ``short`` removes a block's short-range connection, which is that to the later of its parents; ``long``
    removes the other; ``sequential`` removes both, and every block reads the one before it (section 5 of the
    paper, importance of the learned cross-scale connections). Levels, types and order stay, and so does the
    rule by which outputs add features that nothing reads. A block with one parent keeps it, but for
    ``sequential``.

    Args:
        spec: the architecture.
        damage: one of `DAMAGES`.

    Raises:
        ValueError: there is no such damage.
    """
    blocks = []
    for i, block in enumerate(spec.blocks, start=len(spec.stem)):
        match damage:
            case "short":
                parent = min(block.parents)
            case "long":
                parent = max(block.parents)
            case "sequential":
                parent = i - 1
            case _:
                raise ValueError(f"damage: must be one of {', '.join(DAMAGES)}, got {damage!r}")
        blocks.append(replace(block, parents=(parent,)))
    kept = "sequential" if damage == "sequential" else f"without-{damage}"
    return replace(spec, blocks=tuple(blocks), name=f"{spec.name}-{kept}" if spec.name else kept)
