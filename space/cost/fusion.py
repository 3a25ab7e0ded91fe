"""Fusion: how a block's input is made of earlier features. What the models and the cost model share of it.

``sum`` is the paper's: a block reads its two parents, each through a resampling of its own. Under the others
every feature is squeezed once for all its readers, to one width, and a block reads the sum of all features
that it depends on, each times a weight: with ``weighted`` the weights are learned numbers, with ``attention``
they are computed for every image.
"""

from __future__ import annotations

from spinesearch.space.arch.spec import ArchSpec, SpecError

FUSIONS = ("sum", "weighted", "attention")
KEY_WIDTH = 16  # of a feature's key and a block's query; this project's own


def check_fusion(fusion: str, spec: ArchSpec) -> None:
    """Returns if a spec's network can have this fusion.

    Raises:
        SpecError: there is none of this name, or the blocks are MBConv blocks, which have no squeeze.
    """
    if fusion not in FUSIONS:
        raise SpecError(f"fusion: must be one of {', '.join(FUSIONS)}, got {fusion!r}")
    if fusion != "sum" and spec.is_mbconv:
        raise SpecError(
            f"fusion: {fusion} shares the squeezes of resamplings, which MBConv networks do not have; "
            "give fusion=sum"
        )


def fusion_candidates(spec: ArchSpec) -> tuple[tuple[int, ...], ...]:
    """By block id, the features that a block weighs: all that it depends on, rising; none for the stem.

    Those are its parents, what they read, and so on down to the image; an earlier feature that it does not
    depend on is none of them. So the graph alone decides, as for the sum: a block that no output depends on
    stays without effect, the order of blocks that do not read each other does not count, and specs of one
    ``arch_id`` are one network under every fusion.
    """
    num_stem = len(spec.stem)
    found: list[frozenset[int]] = []
    for i, block in enumerate(spec.all_blocks):
        parents = block.parents if i >= num_stem else range(max(i - 1, 0), i)
        found.append(frozenset(parents).union(*(found[j] for j in parents)))
    return tuple(tuple(sorted(ids)) if i >= num_stem else () for i, ids in enumerate(found))
