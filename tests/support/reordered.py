"""One network written down in another way, for tests of what depends on the network alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spinesearch.space import ArchSpec


def reordered(spec: ArchSpec, rng: np.random.Generator) -> ArchSpec:
    """The same graph in another valid order of the intermediate blocks, with parents swapped at random."""
    num_stem = len(spec.stem)
    intermediates = [i for i in range(num_stem, len(spec)) if not spec.block(i).is_output]
    order: list[int] = []
    while len(order) < len(intermediates):
        placed = set(order) | set(range(num_stem))
        ready = [i for i in intermediates if i not in order and set(spec.block(i).parents) <= placed]
        order.append(int(rng.choice(ready)))
    order += [i for i in range(num_stem, len(spec)) if spec.block(i).is_output]
    new_id = {old: new for new, old in enumerate([*range(num_stem), *order])}
    blocks = []
    for old in order:
        parents = [new_id[p] for p in spec.block(old).parents]
        rng.shuffle(parents)
        blocks.append(replace(spec.block(old), parents=tuple(int(p) for p in parents)))
    return replace(spec, blocks=tuple(blocks))
