"""The outputs of the authors' code that ship with the package, and that another network would be noticed."""

from pathlib import Path

import numpy as np
import pytest

from spinesearch.models.weights import oracle
from spinesearch.models.weights.oracle import ACTIVATIONS, TOLERANCE, oracle_difference

SHIPPED = Path(oracle.__file__).parent / "oracles"
SHARED = Path(__file__).parents[3].parent / "shared" / "reference" / "oracles"


def test_ours_are_the_authors_and_small_enough_to_ship():
    assert oracle_difference("relu") <= TOLERANCE
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 300_000


def test_a_single_wrong_kernel_is_noticed(monkeypatch):
    right = oracle.seeded_weight

    def wrong(name: str, shape: tuple[int, ...]) -> np.ndarray:
        factor = 1.01 if name == "spinenet/sub_policy0/scale_permuted_block_2/conv2d/kernel" else 1.0
        return (factor * right(name, shape)).astype(np.float32)

    monkeypatch.setattr(oracle, "seeded_weight", wrong)
    assert oracle_difference("relu") > 10 * TOLERANCE


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the authors' outputs are missing: no {SHARED}")
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_what_ships_is_part_of_what_the_authors_code_gave(activation: str):
    name = f"spinenet49_narrow_{activation}"
    with np.load(SHIPPED / f"{name}.npz") as shipped, np.load(SHARED / f"{name}_seeded.npz") as whole:
        assert set(shipped.files) == {
            *(f"{kind}{level}" for kind in ("P", "box") for level in range(3, 8))
        } | {
            "cls6",
            "cls7",
        }
        for key in shipped.files:
            np.testing.assert_array_equal(shipped[key], whole[f"out/{key}"])
