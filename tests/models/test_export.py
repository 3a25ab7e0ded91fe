"""torch.export: the exported program gives the network's own outputs."""

import io
from pathlib import Path

import pytest
import torch
from long_suite import few
from tiny_models import NARROW, TINY, tiny_detector
from torch import Tensor, nn

from spinesearch.models.backbone import build_backbone
from spinesearch.models.heads.detector import build_detector

MODELS = {
    "v1": (TINY, NARROW),
    "v2": (TINY, NARROW | {"compat": "v2"}),
    "mobile": ("spinenet_mobile49xs", {}),
    "resnet": ("resnet50_fpn", NARROW),
}
BATCH = {0: torch.export.Dim("batch", max=16)}


def build(model: str) -> nn.Module:
    spec, kwargs = MODELS[model]
    return build_backbone(spec, **kwargs).eval()


def assert_equal_but_for_rounding(got: Tensor, want: Tensor) -> None:
    """Float32 sums in another order: 1e-5 of the maximum, as for the authors' outputs."""
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5 * float(want.abs().max()))


def exported(module: nn.Module, images: Tensor, **kwargs: object) -> nn.Module:
    return torch.export.export(module, (images,), **kwargs).module()


@pytest.mark.parametrize("model", few(MODELS, ["v1"]))
@torch.no_grad()
def test_a_backbone_with_any_batch(model: str) -> None:
    backbone = build(model)
    program = exported(backbone, torch.rand(2, 3, 97, 128), dynamic_shapes=(BATCH,))
    for batch in (1, 2, 3):
        images = torch.rand(batch, 3, 97, 128)
        want, got = backbone(images), program(images)
        assert list(got) == list(want) == [3, 4, 5, 6, 7]
        for level, feature in want.items():
            assert_equal_but_for_rounding(got[level], feature)


# PyTorch says so of every kernel in channels-last order; what is loaded again is right.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:No complete tensor found in the group")
@torch.no_grad()
def test_a_backbone_of_fixed_shape_through_a_file(tmp_path: Path) -> None:
    backbone = build("v1")
    images = torch.rand(1, 3, 64, 64)
    torch.export.save(torch.export.export(backbone, (images,)), tmp_path / "backbone.pt2")
    got = torch.export.load(tmp_path / "backbone.pt2").module()(images)
    for level, feature in backbone(images).items():
        assert_equal_but_for_rounding(got[level], feature)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["v1", pytest.param("mobile", marks=pytest.mark.slow)])
@torch.no_grad()
def test_a_detector_with_any_batch(model: str) -> None:
    detector = tiny_detector() if model == "v1" else build_detector(MODELS[model][0], num_classes=3)
    program = exported(detector.eval(), torch.rand(2, 3, 64, 96), dynamic_shapes=(BATCH,))
    images = torch.rand(3, 3, 64, 96)
    for got, want in zip(program(images), detector(images), strict=True):
        assert_equal_but_for_rounding(got, want)


@pytest.mark.parametrize("model", few(["v1", "resnet"], ["v1"]))
def test_a_dynamic_height_is_refused_with_the_reason(model: str) -> None:
    height = {2: torch.export.Dim("height", max=512)}
    with pytest.raises(ValueError, match="only the batch can be dynamic"):
        exported(build(model), torch.rand(1, 3, 64, 64), dynamic_shapes=(height,))


@pytest.mark.slow
@torch.no_grad()
def test_a_traced_export_needs_no_graph_break() -> None:
    backbone = build("v1")
    images = torch.rand(1, 3, 64, 64)
    got = exported(backbone, images, strict=True)(images)
    for level, feature in backbone(images).items():
        assert_equal_but_for_rounding(got[level], feature)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("model", ["v1", "resnet", "detector"])
def test_torchscript_and_the_exporter_on_top_of_it_are_answered_with_what_works(model: str) -> None:
    module = tiny_detector().eval() if model == "detector" else build(model)
    images = torch.rand(1, 3, 64, 64)
    for make in (
        lambda: torch.jit.script(module),
        lambda: torch.jit.trace(module, images, strict=False),
        lambda: torch.onnx.export(module, (images,), io.BytesIO(), dynamo=False),
    ):
        with pytest.raises(RuntimeError, match=r"give torch\.export\.export\(") as error:
            make()
        assert "\n" not in str(error.value)
