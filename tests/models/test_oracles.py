"""The authors' own outputs on weights that anyone can regenerate (section 7 of the reference), reproduced."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spinesearch.models.backbone import build_backbone
from spinesearch.models.weights.oracle import narrow_spinenet49
from spinesearch.models.weights.tf_weights import load_tf_weights, tf_variables

ORACLES = Path(__file__).parents[2].parent / "shared" / "reference" / "oracles"
pytestmark = pytest.mark.skipif(
    not ORACLES.is_dir(), reason=f"the authors' outputs are missing: no {ORACLES}"
)


def seeded_images(module: nn.Module, size: int) -> Tensor:
    """The oracles' images, after the network was filled with the oracles' weights."""
    seeded = runpy.run_path(str(ORACLES / "seeded.py"))
    shapes = {name: variable.shape for name, variable in tf_variables(module).items()}
    load_tf_weights(module, {name: seeded["weight"](name, shape) for name, shape in shapes.items()})
    return torch.from_numpy(seeded["image"](size)).permute(0, 3, 1, 2)


def assert_outputs_match(outputs: dict[str, Tensor], oracle_file: str) -> None:
    with np.load(ORACLES / oracle_file) as oracle:
        expected = {key.removeprefix("out/"): oracle[key] for key in oracle.files if key != "meta"}
    assert outputs.keys() == expected.keys()
    for name, output in outputs.items():
        want = torch.from_numpy(expected[name]).permute(0, 3, 1, 2)
        # Float32 sums in another order: 1e-5 of the maximum is what a faithful implementation stays within.
        torch.testing.assert_close(
            output, want, rtol=0, atol=1e-5 * float(want.abs().max()), msg=lambda text, n=name: f"{n}: {text}"
        )


def test_variables_of_full_width_match_the_authors() -> None:
    with torch.device("meta"):
        backbone = build_backbone("spinenet49")
    shapes = {name: list(variable.shape) for name, variable in tf_variables(backbone).items()}
    assert shapes == json.loads((ORACLES / "spinenet49_varnames.json").read_text())


@pytest.mark.parametrize("activation", ["relu", "swish"])
def test_outputs_match_the_authors(activation: str) -> None:
    detector = narrow_spinenet49(activation)
    images = seeded_images(detector, 128)
    with torch.no_grad():
        features = detector.backbone(images)
        cls_logits, box_deltas = detector.head(features)
        blocks = detector.backbone.block_features(images)
    outputs = {f"feat{i}": x for i, x in enumerate(blocks)}
    for name, levels in (("P", features), ("cls", cls_logits), ("box", box_deltas)):
        outputs |= {f"{name}{level}": x for level, x in levels.items()}
    assert_outputs_match(outputs, f"spinenet49_narrow_{activation}_seeded.npz")


def test_outputs_of_the_mobile_network_match_the_authors() -> None:
    backbone = build_backbone("spinenet_mobile49").eval()
    images = seeded_images(backbone, 256)
    with torch.no_grad():
        outputs = {f"P{level}": x for level, x in backbone(images).items()}
    assert_outputs_match(outputs, "mbconv49_seeded.npz")
