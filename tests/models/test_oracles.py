"""The authors' own outputs on weights that anyone can regenerate (section 7 of the reference), reproduced."""

import json
import runpy
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spinesearch.models.backbone import ScalePermutedBackbone, build_backbone
from spinesearch.models.detector import build_detector
from spinesearch.models.retinanet import RetinaNetHead

ORACLES = Path(__file__).parents[2].parent / "shared" / "reference" / "oracles"
pytestmark = pytest.mark.skipif(
    not ORACLES.is_dir(), reason=f"the authors' outputs are missing: no {ORACLES}"
)

NORM_VARIABLES = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def conv_variables(scope: str, conv: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield f"{scope}/kernel", conv.weight
    if conv.bias is not None:
        yield f"{scope}/bias", conv.bias


def norm_variables(scope: str, norm: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for variable, attribute in NORM_VARIABLES.items():
        yield f"{scope}/{variable}", getattr(norm, attribute)


def scope_variables(scope: str, modules: Iterable[nn.Module]) -> Iterator[tuple[str, Tensor]]:
    """Variables of one TensorFlow scope, whose layers are counted in the order of creation."""
    layers = [layer for module in modules for layer in module.modules()]
    for kind, name, variables in (
        (nn.Conv2d, "conv2d", conv_variables),
        (nn.BatchNorm2d, "batch_normalization", norm_variables),
    ):
        for k, layer in enumerate(layer for layer in layers if isinstance(layer, kind)):
            yield from variables(f"{scope}/{name}_{k}" if k else f"{scope}/{name}", layer)


def backbone_variables(backbone: ScalePermutedBackbone) -> Iterator[tuple[str, Tensor]]:
    num_stem = len(backbone.spec.stem)
    endpoints = [backbone.endpoints[level] for level in "34567"]
    yield from scope_variables("spinenet", [backbone.stem_conv, *backbone.blocks[:num_stem], *endpoints])
    for i, resamples in enumerate(backbone.resamples):
        scope, block_id = f"spinenet/sub_policy{i}", i + num_stem
        for parent, resample in enumerate(resamples):
            yield from scope_variables(f"{scope}/resample_with_alpha_resample_{i}_{parent}", [resample])
        yield from scope_variables(f"{scope}/scale_permuted_block_{block_id}", [backbone.blocks[block_id]])


def head_variables(head: RetinaNetHead) -> Iterator[tuple[str, Tensor]]:
    for name, net in (("class", head.cls_net), ("box", head.box_net)):
        scope = f"retinanet/{name}_net"
        for n, conv in enumerate(net.convs):
            yield from conv_variables(f"{scope}/{name}-{n}", conv)
            for level in head.levels:
                yield from norm_variables(f"{scope}/{name}-{n}-{level}", net.norms[str(level)][n])
        yield from conv_variables(f"{scope}/{name}-predict", net.predict)


def tf_shape(tensor: Tensor) -> list[int]:
    return list(tensor.permute(2, 3, 1, 0).shape if tensor.ndim == 4 else tensor.shape)


def fill(variables: dict[str, Tensor], weight: Callable[[str, list[int]], np.ndarray]) -> None:
    for name, tensor in variables.items():
        value = torch.from_numpy(weight(name, tf_shape(tensor)))
        with torch.no_grad():
            tensor.copy_(value.permute(3, 2, 0, 1) if value.ndim == 4 else value)


def test_variables_of_full_width_match_the_authors() -> None:
    with torch.device("meta"):
        backbone = build_backbone("spinenet49")
    pairs = list(backbone_variables(backbone))
    shapes = {name: tf_shape(tensor) for name, tensor in pairs}
    assert len(shapes) == len(pairs)
    assert shapes == json.loads((ORACLES / "spinenet49_varnames.json").read_text())


@pytest.mark.parametrize("activation", ["relu", "swish"])
def test_outputs_match_the_authors(activation: str) -> None:
    seeded = runpy.run_path(str(ORACLES / "seeded.py"))
    detector = build_detector(
        "spinenet49",
        num_classes=91,
        filter_size_scale=0.25,
        resample_alpha=0.25,
        endpoints_num_filters=64,
        head_num_filters=64,
        activation=activation,
    ).eval()
    pairs = [*backbone_variables(detector.backbone), *head_variables(detector.head)]
    variables = dict(pairs)
    stored = {
        name: t for name, t in detector.state_dict().items() if not name.endswith("num_batches_tracked")
    }
    assert len(variables) == len(pairs) == len(stored)
    assert {t.data_ptr() for t in variables.values()} == {t.data_ptr() for t in stored.values()}
    fill(variables, seeded["weight"])

    with np.load(ORACLES / f"spinenet49_narrow_{activation}_seeded.npz") as oracle:
        expected = {key.removeprefix("out/"): oracle[key] for key in oracle.files if key != "meta"}
    images = torch.from_numpy(seeded["image"](128)).permute(0, 3, 1, 2)
    with torch.no_grad():
        features = detector.backbone(images)
        cls_logits, box_deltas = detector.head(features)
        blocks = detector.backbone.block_features(images)
    outputs = {f"feat{i}": x for i, x in enumerate(blocks)}
    for name, levels in (("P", features), ("cls", cls_logits), ("box", box_deltas)):
        outputs |= {f"{name}{level}": x for level, x in levels.items()}

    assert outputs.keys() == expected.keys()
    for name, output in outputs.items():
        want = torch.from_numpy(expected[name]).permute(0, 3, 1, 2)
        # Float32 sums in another order: 1e-5 of the maximum is what a faithful implementation stays within.
        torch.testing.assert_close(
            output, want, rtol=0, atol=1e-5 * float(want.abs().max()), msg=lambda text, n=name: f"{n}: {text}"
        )
