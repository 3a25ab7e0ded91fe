"""The authors' list, held against a copy of what their builders check, and against the builder itself."""

import ast
import importlib.util
import math

import numpy as np
import pytest

from spinesearch.results.export.tf_list import tf_list_text
from spinesearch.space import PRESETS, SPINENET_49, ArchSpec, SpecError, SpineNetSpace

# spinenet.py and spinenet_mbconv.py of tensorflow/tpu, models/official/detection/modeling/architecture.
MIN_LEVEL, MAX_LEVEL = 3, 7
FILTER_SIZE_LEVELS = {"bottleneck": range(1, 8), "residual": range(1, 8), "mbconv": range(8)}


def block_list(text: str) -> list[tuple]:
    """`SPINENET_BLOCK_SPECS` of a file, which has nothing else."""
    (assignment,) = ast.parse(text).body
    assert isinstance(assignment, ast.Assign)
    assert assignment.targets[0].id == "SPINENET_BLOCK_SPECS"
    return ast.literal_eval(assignment.value)


def check_as_the_builder(rows: list[tuple], *, input_width: int = 640) -> dict[int, int]:
    """What `_build_scale_permuted_network` and its `BlockSpec` raise for; the block of each output level."""
    features = [(2, "bottleneck")] * 2 if rows[0][1] != "mbconv" else [(1, "mbconv"), (2, "mbconv")]
    outputs: dict[int, int] = {}
    for row in rows:
        level, block_fn, input_offsets, is_output = row  # BlockSpec(*row)
        if block_fn not in ("bottleneck", "residual", "mbconv"):
            raise ValueError(f"Block function {block_fn} not implemented.")
        assert level in FILTER_SIZE_LEVELS[block_fn]  # FILTER_SIZE_MAP[block_spec.level]
        target_width = math.ceil(input_width / 2**level)
        for offset in (input_offsets[0], input_offsets[1]):
            if not 0 <= offset < len(features):
                raise ValueError(f"input_offset ({offset}) is out of existing blocks({len(features)})")
            width = math.ceil(input_width / 2 ** features[offset][0])
            if block_fn == "mbconv" and max(width, target_width) % min(width, target_width):
                raise ValueError(f"width ({width}) is not divisible by target_width ({target_width}).")
        if is_output:
            if level in outputs:
                raise ValueError(f"Duplicate feats found for output level {level}.")
            if level < MIN_LEVEL or level > MAX_LEVEL:
                raise ValueError(f"Output level is out of range [{MIN_LEVEL}, {MAX_LEVEL}]")
            outputs[level] = len(features)
        features.append((level, block_fn))
    assert sorted(outputs) == list(range(MIN_LEVEL, MAX_LEVEL + 1))  # `_build_endpoints` looks each up
    return outputs


@pytest.mark.parametrize("name", ["spinenet49", "r0_sp53", "spinenet_mobile49"])
def test_published_lists_are_accepted_and_read_back(name: str) -> None:
    spec = PRESETS[name]
    rows = block_list(tf_list_text(spec))
    assert check_as_the_builder(rows) == spec.output_ids
    assert ArchSpec.from_tuples(rows, stem=spec.stem) == spec


def test_sampled_lists_are_accepted() -> None:
    space = SpineNetSpace()
    for seed in range(200):
        spec = space.decode(space.sample(np.random.default_rng(seed)))
        assert check_as_the_builder(block_list(tf_list_text(spec))) == spec.output_ids


def test_the_released_list_is_ours() -> None:
    rows = block_list(tf_list_text(SPINENET_49))
    assert rows[0] == (2, "bottleneck", (0, 1), False)
    assert rows[1] == (4, "residual", (0, 1), False)
    assert rows[-1] == (6, "bottleneck", (12, 14), True)


def test_a_name_cannot_add_lines() -> None:
    rows = block_list(tf_list_text(SPINENET_49.renamed("x\nimport os")))
    assert len(rows) == 15


def test_another_stem_is_refused() -> None:
    with pytest.raises(
        SpecError, match="--format tf: the authors' builders have a stem of bottlenecks at L2, L2"
    ):
        tf_list_text(PRESETS["r23_sp30"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["spinenet49", "r0_sp53"])
def test_the_builder_of_the_model_garden_takes_it(name: str) -> None:
    missing = [p for p in ("tensorflow", "official") if importlib.util.find_spec(p) is None]
    if missing:
        pytest.skip(f"needs tensorflow and tf-models-official; missing here: {', '.join(missing)}")
    from official.vision.modeling.backbones import spinenet

    rows = block_list(tf_list_text(PRESETS[name]))
    import tensorflow as tf

    network = spinenet.SpineNet(
        input_specs=tf.keras.layers.InputSpec(shape=[None, 128, 128, 3]),
        block_specs=[spinenet.BlockSpec(*row) for row in rows],
        filter_size_scale=0.25,
    )
    assert sorted(network.output_specs) == ["3", "4", "5", "6", "7"]
