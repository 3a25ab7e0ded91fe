"""`torch.export` and ONNX files: loaded back they give the network's outputs for any batch."""

import importlib.util
from pathlib import Path

import pytest
import torch
from exported_networks import build
from torch import Tensor

from spinesearch.models.heads.retinanet import RetinaNet
from spinesearch.results.export.onnx_file import OPSET, check_onnx, write_onnx
from spinesearch.results.export.plain_twin import outputs_of, plain_twin
from spinesearch.results.export.program import write_program

SIZE = (64, 96)
BATCHES = (1, 2, 5)
MISSING = [p for p in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(p) is None]
needs_onnx = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}: pip install -e '.[dev]'")
EVERY = ["tiny v2 swish", "mobile", "r23_sp30", "resnet"]


def close(got: Tensor, want: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(got, want, rtol=0, atol=tolerance * float(want.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
@torch.no_grad()
def test_a_program_gives_the_same_for_any_batch(name: str, tmp_path: Path) -> None:
    module = build(name)
    path = tmp_path / "network.pt2"
    write_program(plain_twin(module), path, SIZE)
    program = torch.export.load(path).module()
    for batch in BATCHES:
        images = torch.rand(batch, 3, *SIZE)
        for got, want in zip(outputs_of(program, images), outputs_of(module, images), strict=True):
            close(got, want, 1e-5)
    with pytest.raises((RuntimeError, AssertionError)):
        program(torch.rand(1, 3, 96, 64))


def onnx_session(path: Path):
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
@torch.no_grad()
def test_raw_outputs_in_onnxruntime(name: str, tmp_path: Path) -> None:
    import onnx

    module = build(name)
    path = tmp_path / "network.onnx"
    write_onnx(plain_twin(module), path, SIZE, is_raw=True)
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert {(i.domain, i.version) for i in model.opset_import} == {("", OPSET)}
    session = onnx_session(path)
    names = [output.name for output in session.get_outputs()]
    is_detector = isinstance(module, RetinaNet)
    assert names == (["cls_logits", "box_deltas"] if is_detector else ["p3", "p4", "p5", "p6", "p7"])
    (images_in,) = session.get_inputs()
    assert (images_in.name, images_in.shape[1:]) == ("images", [3, *SIZE])
    for batch in BATCHES:
        images = torch.rand(batch, 3, *SIZE)
        got = session.run(None, {"images": images.numpy()})
        for one, want in zip(got, outputs_of(module, images), strict=True):
            close(torch.from_numpy(one), want, 1e-4)


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny", "spinenet49"])
@torch.no_grad()
def test_detections_in_onnxruntime(name: str, tmp_path: Path) -> None:
    """Equal but for those whose score or overlap is within 1e-4 of a threshold, where rounding decides."""
    twin = plain_twin(build(name))
    path = tmp_path / "network.onnx"
    write_onnx(twin, path, SIZE, is_raw=False)
    session = onnx_session(path)
    assert [output.name for output in session.get_outputs()] == ["detections"]
    for batch in BATCHES:
        images = torch.rand(batch, 3, *SIZE, generator=torch.Generator().manual_seed(batch))
        (found,) = session.run(None, {"images": images.numpy()})
        got, want = torch.from_numpy(found), twin.detect(images)
        assert got.shape == want.shape == (batch, 100, 6)
        num_equal = 0
        for one, other in zip(got, want, strict=True):
            num_equal += same_detections(one[one[:, 4] > 0], other[other[:, 4] > 0])
            assert not one[one[:, 4] == 0].any()
        assert num_equal > 10 * batch


def same_detections(got: Tensor, want: Tensor) -> int:
    """How many detections of one image have a twin in the other; asserts that all others are on the edge."""
    edge = 0.0501
    if len(got) == 100 or len(want) == 100:
        edge = max(edge, *(float(rows[:, 4].min()) + 1e-4 for rows in (got, want) if len(rows)))
    matched = 0
    for mine, theirs in ((got, want), (want, got)):
        for row in mine:
            alike = (theirs[:, :4] - row[:4]).abs().amax(dim=1) < 1e-2
            alike &= (theirs[:, 4] - row[4]).abs() < 1e-4
            alike &= theirs[:, 5] == row[5]
            is_found = bool(alike.any())
            matched += is_found
            assert is_found or row[4] < edge or near_nms(row, theirs), row
    return matched // 2


def near_nms(row: Tensor, rows: Tensor) -> bool:
    """Whether a detection overlaps another of its class by nearly the threshold, so that either may stay."""
    others = rows[rows[:, 5] == row[5]]
    low = torch.maximum(row[:2], others[:, :2])
    high = torch.minimum(row[2:4], others[:, 2:4])
    inside = (high - low).clamp(min=0).prod(dim=1)
    areas = (others[:, 2:4] - others[:, :2]).prod(dim=1) + (row[2:4] - row[:2]).prod()
    return bool(((inside / (areas - inside) - 0.5).abs() < 1e-4).any())


def test_a_missing_package_is_named_with_its_extra(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"--format onnx: onnx and onnxscript missing; install them: pip install "
    ):
        check_onnx()


@needs_onnx
def test_unknown_anchors_are_one_line(tmp_path: Path) -> None:
    from tiny_models import tiny_detector

    with pytest.raises(ValueError, match="num_anchors: 2 anchors per pixel are no whole number of scales"):
        write_onnx(plain_twin(tiny_detector().eval()), tmp_path / "x.onnx", SIZE, is_raw=False)
    assert not list(tmp_path.iterdir())
