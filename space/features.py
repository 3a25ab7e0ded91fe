"""What a model of the reward sees of a network: a fixed number of named figures of its graph.

Everything is read from the live graph without regard to the order in which blocks stand, so that specs of
one `arch_id` have the same figures, to the last bit. "Inputs" of a block are its two parents and the features
that it adds unresampled; the input of a block of the stem is the block before it.

- ``blocks at L4``, ``residual blocks at L4``: live blocks after the stem, outputs included.
- ``P4 is residual``: 1 or 0.
- ``L2 to L4``: resampled connections by level of parent and block; ``L2 to L4 in two``: pairs of connections
  in a row, by their ends.
- ``levels up``, ``levels down``: sums over the resampled connections; up is towards coarser levels.
- ``P4 unresampled``: features that the output adds as they are.
- ``P4 shortest path``, ``P4 longest path``: blocks from the image up to and including the output.
- ``P4 log paths``: natural logarithm of the number of ways from the image.
- ``P4 ancestors``, ``P4 mean ancestor level``: of the blocks after the stem that the output depends on, and
  itself.
- ``P4 finest way``: the coarsest level on that way to the output, itself left out, which is finest in this.
- ``P4 finest parent``, ``P4 coarsest parent``: their levels less the output's.
- ``shape 1.07``: blocks whose type and level together with those of all their inputs fall into this class
  (Weisfeiler and Lehman's colours after one round, hashed into `NUM_SHAPES` classes); ``shape 2.07``: with
  their inputs' inputs too.
- ``log parameters``, ``log multiply-adds``: natural logarithms, of the live blocks at the published widths
  and `COST_IMAGE_SIZE` pixels.
"""

from __future__ import annotations

import math
import zlib
from functools import lru_cache
from typing import NamedTuple

from spinesearch.space.arch.block import MAX_LEVEL, MIN_LEVEL, OUTPUT_LEVELS, BlockSpec
from spinesearch.space.arch.identity import live_blocks
from spinesearch.space.arch.spec import ArchSpec
from spinesearch.space.cost.cost import backbone_cost

NUM_SHAPES = 32
NUM_ROUNDS = 2
COST_IMAGE_SIZE = 640  # pixels, the paper's for SpineNet-49

_LEVELS = range(MIN_LEVEL, MAX_LEVEL + 1)
FEATURE_NAMES: tuple[str, ...] = (
    *(f"blocks at L{level}" for level in _LEVELS),
    *(f"residual blocks at L{level}" for level in _LEVELS),
    *(f"L{a} to L{b}" for a in _LEVELS for b in _LEVELS),
    *(f"L{a} to L{b} in two" for a in _LEVELS for b in _LEVELS),
    "levels up",
    "levels down",
    *(f"shape {n}.{shape:02}" for n in range(1, NUM_ROUNDS + 1) for shape in range(NUM_SHAPES)),
    *(
        f"P{level} {figure}"
        for level in OUTPUT_LEVELS
        for figure in (
            "is residual",
            "unresampled",
            "shortest path",
            "longest path",
            "log paths",
            "ancestors",
            "mean ancestor level",
            "finest way",
            "finest parent",
            "coarsest parent",
        )
    ),
    "log parameters",
    "log multiply-adds",
)


def features(spec: ArchSpec) -> tuple[float, ...]:
    """The figures of `FEATURE_NAMES`, in their order."""
    unresampled = spec.unresampled_inputs()
    live = tuple(sorted(live_blocks(spec, unresampled)))
    graph = _Graph(len(spec.stem), spec.all_blocks, live, unresampled)
    cost = backbone_cost(spec, COST_IMAGE_SIZE, live_only=True)
    figures = [*_block_counts(graph), *_shape_counts(graph), *_output_figures(graph, spec.output_ids)]
    return tuple(map(float, (*figures, math.log(cost.parameters), math.log(cost.multiply_adds))))


class _Graph(NamedTuple):
    """A spec's blocks and connections.

    Attributes:
        num_stem: number of blocks of the stem.
        blocks: all blocks, by id.
        live: ids of those that some output depends on, rising.
        unresampled: ids of the features that each block adds as they are, by its id.
    """

    num_stem: int
    blocks: tuple[BlockSpec, ...]
    live: tuple[int, ...]
    unresampled: tuple[tuple[int, ...], ...]


def _block_counts(graph: _Graph) -> list[int]:
    """Blocks and connections by level."""
    num_levels, levels = len(_LEVELS), [block.level - MIN_LEVEL for block in graph.blocks]
    counts, residuals = [0] * num_levels, [0] * num_levels
    singles, doubles = [0] * num_levels**2, [0] * num_levels**2
    up = down = 0
    for i in graph.live:
        if i < graph.num_stem:
            continue
        level, block = levels[i], graph.blocks[i]
        counts[level] += 1
        residuals[level] += block.block_type == "residual"
        for parent in block.parents:
            singles[levels[parent] * num_levels + level] += 1
            up += max(level - levels[parent], 0)
            down += max(levels[parent] - level, 0)
            for grandparent in graph.blocks[parent].parents:
                doubles[levels[grandparent] * num_levels + level] += 1
    return [*counts, *residuals, *singles, *doubles, up, down]


def _shape_counts(graph: _Graph) -> list[int]:
    """Blocks by what they and the blocks before them are, some rounds of colour refinement deep."""
    colours = {}
    for i in graph.live:
        block = graph.blocks[i]
        place = i if i < graph.num_stem else -1
        colours[i] = _hashed((block.level, block.block_type, place, block.is_output))
    counts: list[int] = []
    for _ in range(NUM_ROUNDS):
        colours = {
            i: _hashed(
                (
                    colours[i],
                    *sorted([colours[j] for j in graph.blocks[i].parents]),
                    *sorted([colours[j] for j in graph.unresampled[i]]),  # a block of the stem has neither
                )
            )
            for i in graph.live
        }
        classes = [0] * NUM_SHAPES
        for i in graph.live:
            classes[colours[i] % NUM_SHAPES] += i >= graph.num_stem
        counts += classes
    return counts


def _output_figures(graph: _Graph, output_ids: dict[int, int]) -> list[float]:
    """What stands between the image and each output, by level of the output."""
    blocks = graph.blocks
    shortest: dict[int, int] = {}
    longest: dict[int, int] = {}
    num_paths: dict[int, int] = {}
    coarsest: dict[int, int] = {}  # on the finest way, up to the block and without it
    ancestors: dict[int, frozenset[int]] = {}  # itself included
    for i in graph.live:
        if i < graph.num_stem:
            inputs: tuple[int, ...] = (i - 1,) if i else ()
            own: frozenset[int] = frozenset()
        else:
            inputs = (*blocks[i].parents, *graph.unresampled[i])
            own = frozenset((i,))
        shortest[i] = 1 + min([shortest[j] for j in inputs], default=0)
        longest[i] = 1 + max([longest[j] for j in inputs], default=0)
        num_paths[i] = sum([num_paths[j] for j in inputs]) or 1
        coarsest[i] = min([max(coarsest[j], blocks[j].level) for j in inputs], default=0)
        ancestors[i] = own.union(*[ancestors[j] for j in inputs])
    figures: list[float] = []
    for level, i in output_ids.items():
        parent_levels = [blocks[j].level for j in blocks[i].parents]
        figures += (
            blocks[i].block_type == "residual",
            len(graph.unresampled[i]),
            shortest[i],
            longest[i],
            math.log(num_paths[i]),
            len(ancestors[i]),
            sum([blocks[j].level for j in ancestors[i]]) / len(ancestors[i]),
            coarsest[i],
            min(parent_levels) - level,
            max(parent_levels) - level,
        )
    return figures


@lru_cache(maxsize=1 << 14)
def _hashed(colour: tuple[int | str, ...]) -> int:
    """A number for a colour, the same in every process."""
    return zlib.crc32(repr(colour).encode())
