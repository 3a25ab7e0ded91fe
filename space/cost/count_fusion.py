"""The layers of a fusion that shares its squeezes, counted one by one, for `spinesearch.space.cost.count`."""

from __future__ import annotations

from collections.abc import Set

from spinesearch.space.arch.spec import ArchSpec
from spinesearch.space.cost.fusion import KEY_WIDTH, fusion_candidates
from spinesearch.space.cost.plan import SizePlan
from spinesearch.space.cost.tally import Tally
from spinesearch.space.cost.widths import Widths


def count_shared_fusion(
    tally: Tally, spec: ArchSpec, widths: Widths, plan: SizePlan, counted: Set[int], *, has_keys: bool
) -> None:
    """Count all between the features of a network and the inputs of the blocks that read them.

    Args:
        tally: counts.
        spec: the architecture.
        widths: of its network under this fusion.
        plan: of the images' size.
        counted: ids of the blocks whose parameters count.
        has_keys: whether the weights depend on the image.
    """
    blocks, middle = spec.all_blocks, widths.resample[0]
    candidates = fusion_candidates(spec)
    for j, block in enumerate(blocks):
        readers = [i for i in counted if j in candidates[i]]
        if readers:
            levels = {blocks[i].level for i in readers if i in plan.live}
            pixels = tally.pixels[block.level] * bool(levels)
            tally.conv_norm(widths.channels[j], middle, 1, pixels)
            if max(blocks[i].level for i in readers) > block.level:
                is_run = max(levels, default=0) > block.level
                tally.conv_norm(middle, middle, 3, tally.pixels[block.level + 1] * is_run)
            for level in levels:
                if level > block.level + 1:  # one pool takes the rest of the way
                    tally.max_pool(middle, 3 if level == block.level + 2 else 5, tally.pixels[level])
            if has_keys:
                tally.elementwise(middle, pixels)
                tally.conv(middle, KEY_WIDTH, 1, min(pixels, 1), bias=True)
    for i in sorted(counted):
        if ids := candidates[i]:
            is_live = i in plan.live
            tally.numbers(len(ids))
            if has_keys:
                tally.conv(KEY_WIDTH, 1, 1, len(ids) * is_live)
            level, channels = blocks[i].level, widths.channels[i]
            for j in ids:  # a product and a sum, where they are resized after that at the lower resolution
                pixels = tally.pixels[max(level, blocks[j].level)]
                tally.elementwise(middle, pixels * is_live, num_operations=2)
            tally.conv_norm(middle, channels, 1, tally.pixels[level] * is_live, activate=False)
