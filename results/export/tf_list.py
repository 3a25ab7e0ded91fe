"""Specs in the list form of the authors' TensorFlow code, for its builders.

Those of the paper (tensorflow/tpu, spinenet.py and spinenet_mbconv.py) and of the Model Garden (spinenet.py
and spinenet_mobile.py) take the same list and have the same two blocks of a stem built in.
"""

from __future__ import annotations

from spinesearch.data.whole_file import file_name
from spinesearch.space.arch.spec import MBCONV_STEM, NUM_PARENTS, SPINENET_STEM, ArchSpec, SpecError


def tf_list_text(spec: ArchSpec) -> str:
    """A Python file with the list, ``SPINENET_BLOCK_SPECS``, which is a literal.

    Raises:
        SpecError: the spec has another stem than those builders.
    """
    stem = MBCONV_STEM if spec.is_mbconv else SPINENET_STEM
    if spec.stem != stem:
        levels = ", ".join(f"L{block.level}" for block in stem)
        kind = "MBConv blocks" if spec.is_mbconv else "bottlenecks"
        raise SpecError(
            f"--format tf: the authors' builders have a stem of {kind} at {levels}, this one is of "
            f"{', '.join(f'L{block.level}' for block in spec.stem)}; --format python writes any network"
        )
    if any(len(block.parents) < NUM_PARENTS for block in spec.blocks):
        raise SpecError(
            "--format tf: the authors' builders read two parents for each block, and this network has blocks "
            "with one; --format python writes any network"
        )
    rows = "".join(f"    {row!r},\n" for row in spec.to_tuples())
    return (
        f"# {file_name(spec.name)} ({spec.arch_id}), for build_block_specs of the authors' "
        f"{'spinenet_mbconv.py' if spec.is_mbconv else 'spinenet.py'}.\n"
        "# (block_level, block_fn, (input_offset0, input_offset1), is_output); 0 and 1 are the stem's.\n"
        f"SPINENET_BLOCK_SPECS = [\n{rows}]\n"
    )
