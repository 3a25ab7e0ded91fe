"""`torch.export` and ONNX files: loaded back they give the network's outputs for any batch."""

import importlib.util
from pathlib import Path

import pytest
import torch
from exported_networks import build
from torch import Tensor

from spinesearch.models.heads.classifier import Classifier
from spinesearch.models.heads.retinanet import RetinaNet
from spinesearch.models.mask_rcnn.detector import MaskRCNN
from spinesearch.results.export.onnx_file import OPSET, check_onnx, write_onnx
from spinesearch.results.export.plain_twin import outputs_of, plain_twin
from spinesearch.results.export.program import write_program

SIZE = (64, 96)
BATCHES = (1, 2, 5)
MISSING = [p for p in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(p) is None]
needs_onnx = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}: pip install -e '.[dev]'")
EVERY = [
    *("tiny v2 swish", "mobile", "mobile v2", "r23_sp30", "resnet"),
    *("attention", "weighted v2", "classifier", "resnet classifier"),
]


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
@pytest.mark.parametrize("name", [*EVERY, "mask_rcnn"])
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
    levels = ["p3", "p4", "p5", "p6", "p7"]
    if isinstance(module, Classifier):
        assert names == ["logits"]
    elif isinstance(module, MaskRCNN):
        assert names == ["scores", "box_deltas", *levels]
    else:
        assert names == (["cls_logits", "box_deltas"] if isinstance(module, RetinaNet) else levels)
    (images_in,) = session.get_inputs()
    assert (images_in.name, images_in.shape[1:]) == ("images", [3, *SIZE])
    for batch in BATCHES:
        images = torch.rand(batch, 3, *SIZE)
        got = session.run(None, {"images": images.numpy()})
        wanted = outputs_of(module, images)[: len(names)]  # without what is asked of a Mask R-CNN's heads
        for one, want in zip(got, wanted, strict=True):
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


@needs_onnx
@pytest.mark.slow
@pytest.mark.timeout(600)
@torch.no_grad()
def test_instances_of_a_mask_rcnn(tmp_path: Path) -> None:
    """Detections and masks of a program and in onnxruntime, for any batch."""
    twin = plain_twin(build("mask_rcnn"))
    write_program(twin, tmp_path / "network.pt2", SIZE)
    write_onnx(twin, tmp_path / "network.onnx", SIZE, is_raw=False)
    program = torch.export.load(tmp_path / "network.pt2").module()
    session = onnx_session(tmp_path / "network.onnx")
    assert [output.name for output in session.get_outputs()] == ["detections", "masks"]
    for batch in BATCHES:
        images = torch.rand(batch, 3, *SIZE, generator=torch.Generator().manual_seed(batch))
        want, want_masks = twin.detect(images)
        in_onnx = [torch.from_numpy(x) for x in session.run(None, {"images": images.numpy()})]
        for found, masks in (program(images), in_onnx):
            assert (found.shape, masks.shape) == ((batch, 100, 6), (batch, 100, 28, 28))
            num_equal = 0
            for row in range(batch):
                is_found, is_wanted = found[row, :, 4] > 0, want[row, :, 4] > 0
                num_equal += same_detections(found[row][is_found], want[row][is_wanted])
                assert not found[row][~is_found].any()
                assert not masks[row][~is_found].any()
            assert num_equal > 10 * batch
            is_same = ((found - want).abs().amax(dim=2) < 1e-3) & (want[..., 4] > 0)
            assert int(is_same.sum()) > 10 * batch
            torch.testing.assert_close(masks[is_same], want_masks[is_same], rtol=0, atol=1e-4)


@needs_onnx
@pytest.mark.slow
@torch.no_grad()
def test_a_mask_rcnn_that_finds_nothing(tmp_path: Path) -> None:
    twin = plain_twin(build("mask_rcnn"))
    twin.head.boxes.class_predict.bias[0] = 1e4  # all is background
    assert not any(part.any() for part in twin.detect(torch.rand(2, 3, *SIZE)))
    write_onnx(twin, tmp_path / "network.onnx", SIZE, is_raw=False)
    session = onnx_session(tmp_path / "network.onnx")
    assert not any(part.any() for part in session.run(None, {"images": torch.rand(2, 3, *SIZE).numpy()}))


def same_detections(got: Tensor, want: Tensor) -> int:
    """How many detections of one image both have; asserts that rounding explains the few others.

    It does where a score is at the threshold (or, of 100, at the last one's), where an overlap is at the
    threshold, and where a detection took the place of another of its class that is missing for such a reason.
    """
    edge = 0.0501
    if len(got) == 100 or len(want) == 100:
        edge = max(edge, *(float(rows[:, 4].min()) + 1e-4 for rows in (got, want) if len(rows)))
    alike = (got[:, None, :4] - want[None, :, :4]).abs().amax(dim=2) < 1e-2
    alike &= (got[:, None, 4] - want[None, :, 4]).abs() < 1e-4
    alike &= got[:, None, 5] == want[None, :, 5]
    alone = got[~alike.any(dim=1)], want[~alike.any(dim=0)]
    for mine, theirs, everything in ((alone[0], alone[1], want), (alone[1], alone[0], got)):
        for row in mine:
            is_at_overlap = bool(((overlaps(row, everything) - 0.5).abs() < 1e-4).any())
            is_in_place = bool((overlaps(row, theirs) > 0.5 - 1e-4).any())
            assert row[4] < edge or is_at_overlap or is_in_place, row
    assert max(len(rows) for rows in alone) <= 0.05 * len(want) + 1
    return int(alike.any(dim=1).sum())


def overlaps(row: Tensor, rows: Tensor) -> Tensor:
    """Intersection over union of a detection with others, 0 for those of other classes."""
    low, high = torch.maximum(row[:2], rows[:, :2]), torch.minimum(row[2:4], rows[:, 2:4])
    inside = (high - low).clamp(min=0).prod(dim=1)
    areas = (rows[:, 2:4] - rows[:, :2]).prod(dim=1) + (row[2:4] - row[:2]).prod()
    return torch.where(rows[:, 5] == row[5], inside / (areas - inside), 0.0)


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
