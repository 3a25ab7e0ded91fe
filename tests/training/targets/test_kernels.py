"""Triton's kernels against the plain forms: on a GPU, and without one in Triton's interpreter."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
import torch.nn.functional as F
from long_suite import few
from small_training import CPU, SETTINGS, run
from torch import Tensor
from torch.testing import assert_close

from spinesearch.models.heads.anchors import make_anchors
from spinesearch.training.step import train as train_module
from spinesearch.training.targets import forms
from spinesearch.training.targets.losses import BOX_LOSS_WEIGHT, FOCAL_ALPHA, FOCAL_GAMMA, HUBER_DELTA
from spinesearch.training.targets.matching import BACKGROUND, make_targets

HAS_TRITON = importlib.util.find_spec("triton") is not None
needs_triton = pytest.mark.skipif(not HAS_TRITON, reason="triton is not installed; it comes with [dev]")
interpreted = pytest.mark.skipif(
    not HAS_TRITON or os.environ.get("TRITON_INTERPRET") != "1",
    reason="no Triton that interprets: [dev] brings it, and TRITON_INTERPRET=1 has it interpret",
)
on_gpu = [
    pytest.mark.gpu,
    needs_triton,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture(params=[pytest.param("cpu", marks=interpreted), pytest.param("cuda", marks=on_gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


def predictions(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of 3 images, 333 anchors, a tenth of them matched, and 7 classes: no whole number of blocks.

    From sure and right to sure and wrong, on both sides of the Huber loss's bend.
    """
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(3, 333, 7, generator=generator) - 2
    logits[0, 0] = torch.tensor([1e4, -1e4, 0.0, 90.0, -90.0, -20.0, 20.0])
    deltas = 0.2 * torch.randn(3, 333, 4, generator=generator)
    classes = torch.randint(7, (3, 333), generator=generator)
    classes = torch.where(torch.rand(3, 333, generator=generator) < 0.1, classes, BACKGROUND)
    codes = 0.2 * torch.randn(3, 333, 4, generator=generator)
    codes[classes == BACKGROUND] = 0
    moved = logits.to(device, dtype), deltas.to(device, dtype)
    return *(x.requires_grad_() for x in moved), classes.to(device), codes.to(device)  # type: ignore[return-value]


def loss_in_float64(logits: Tensor, deltas: Tensor, classes: Tensor, codes: Tensor) -> Tensor:
    """By the formulas of the papers."""
    truth = F.one_hot(classes + 1, logits.shape[-1] + 1)[..., 1:].bool()
    log_p = F.logsigmoid(torch.where(truth, logits, -logits).double())
    weight = torch.where(truth, FOCAL_ALPHA, 1 - FOCAL_ALPHA).double()
    focal = -(weight * (-torch.expm1(log_p)) ** FOCAL_GAMMA * log_p).sum()
    is_object = classes != BACKGROUND
    huber = F.huber_loss(
        deltas[is_object].double(), codes[is_object].double(), reduction="sum", delta=HUBER_DELTA
    )
    return (focal + BOX_LOSS_WEIGHT / 4 * huber) / (is_object.sum() + 1)


@pytest.mark.parametrize("dtype", few([torch.float32, torch.bfloat16], 1))
def test_loss_and_gradients_are_those_of_the_formula_in_float64(
    device: torch.device, dtype: torch.dtype
) -> None:
    from spinesearch.training.targets.loss_kernels import fused_detection_loss

    logits, deltas, classes, codes = predictions(device, dtype)
    loss = fused_detection_loss(logits, deltas, classes, codes)
    exact = loss_in_float64(logits, deltas, classes, codes)
    plain = forms.PLAIN.detection_loss(logits, deltas, classes, codes)
    assert loss.dtype == torch.float32
    assert_close(loss.double(), exact, rtol=1e-5, atol=0)
    assert_close(loss, plain, rtol=1e-5, atol=0)
    # With a factor, as of a micro-batch; bfloat16 to its rounding.
    found, expected = (torch.autograd.grad(3 * x, (logits, deltas)) for x in (loss, exact))
    rtol = 1e-4 if dtype == torch.float32 else 1.01 * torch.finfo(dtype).eps
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        assert_close(one.double(), other.double(), rtol=rtol, atol=1e-9)


@pytest.mark.slow
def test_a_batch_without_objects_and_turned_predictions(device: torch.device) -> None:
    from spinesearch.training.targets.loss_kernels import fused_detection_loss

    logits, deltas, classes, codes = predictions(device, torch.float32)
    turned = [x.detach().mT.contiguous().mT.requires_grad_() for x in (logits, deltas)]
    nothing = torch.full_like(classes, BACKGROUND)
    loss = fused_detection_loss(*turned, nothing, codes)
    assert_close(loss.double(), loss_in_float64(*turned, nothing, codes), rtol=1e-5, atol=0)
    cls_grad, box_grad = torch.autograd.grad(loss, turned)
    assert bool((cls_grad >= 0).all())  # nothing is to be found anywhere
    assert bool((box_grad == 0).all())


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
def test_a_prediction_that_is_not_finite_shows_in_the_loss(device: torch.device, which: int) -> None:
    """So that a training that diverges is noticed."""
    from spinesearch.training.targets.loss_kernels import fused_detection_loss

    *predicted, classes, codes = predictions(device, torch.float32)
    image, anchor = (classes != BACKGROUND).nonzero()[0]
    for value in (float("nan"), float("inf")):
        with torch.no_grad():
            predicted[which][image, anchor] = value
        assert not torch.isfinite(fused_detection_loss(*predicted, classes, codes).detach())


def truth(device: torch.device) -> tuple[Tensor, Tensor]:
    """Five images: crowded, on a grid with equal boxes, with gaps, empty, of one object."""
    generator = torch.Generator().manual_seed(1)
    low = torch.rand(5, 12, 2, generator=generator) * 100
    sides = 2 + torch.rand(5, 12, 2, generator=generator) ** 2 * 60
    boxes = torch.cat((low, (low + sides).clamp(max=128)), dim=-1)
    boxes[1] = (boxes[1] / 16).round() * 16 + torch.tensor([0.0, 0.0, 16.0, 16.0])
    boxes[1, 6:] = boxes[1, :6]
    labels = torch.randint(5, (5, 12), generator=generator)
    labels[2, ::2] = labels[3] = labels[4, 1:] = BACKGROUND
    boxes[labels == BACKGROUND] = float("nan")  # which may hold anything
    return boxes.to(device), labels.to(device)


@pytest.mark.parametrize("rows", few([12, 1, 0], 1))
def test_targets_are_the_plain_ones_to_the_last_bit(device: torch.device, rows: int) -> None:
    from spinesearch.training.targets.match_kernels import fused_make_targets

    anchors = make_anchors(128, num_scales=1, base_anchor=3.0).to(device)
    boxes, labels = truth(device)
    boxes, labels = boxes[:, :rows], labels[:, :rows]
    found = fused_make_targets(anchors, boxes, labels)
    plain = make_targets(anchors, boxes.nan_to_num(), labels)
    assert torch.equal(found[0], plain[0])
    assert torch.equal(found[1], plain[1])
    assert int((plain[0] != BACKGROUND).sum()) > (40 if rows == 12 else -1)


@pytest.fixture
def fresh() -> None:
    """As in a process that has not looked for the kernels."""
    forms._kernels.cache_clear()
    yield
    forms._kernels.cache_clear()


@pytest.mark.slow
@pytest.mark.usefixtures("fresh")
def test_what_a_setting_takes(device: torch.device) -> None:
    """The kernels pass the comparison at their first use; the CPU, where they would crawl, has others."""
    assert forms.step_forms("off", device) is forms.PLAIN
    assert forms.step_forms("auto", CPU) is forms.OBJECTS_ALONE
    assert forms._kernels(device).detection_loss.__name__ == "fused_detection_loss"


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("case", ["absent", pytest.param("wrong", marks=[interpreted, pytest.mark.slow])])
def test_without_good_kernels_the_plain_forms_run_which_is_said_once(
    case: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if case == "absent":
        monkeypatch.setitem(sys.modules, "spinesearch.training.targets.loss_kernels", None)
    else:
        from spinesearch.training.targets import loss_kernels

        monkeypatch.setattr(
            loss_kernels, "fused_detection_loss", lambda *args: 1.001 * forms.PLAIN.detection_loss(*args)
        )
    with caplog.at_level(logging.WARNING):
        assert [forms._kernels(CPU) for _ in range(2)] == [forms.PLAIN] * 2
    (record,) = caplog.records
    reason = (
        "ModuleNotFoundError: import of spine"
        if case == "absent"
        else "AssertionError: Scalars are not close"
    )
    assert f"kernels: those of loss and targets cannot be used ({reason}" in record.getMessage()


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB."),
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    ],
    ids=["full", "lost"],
)
def test_a_device_that_is_full_or_lost_at_the_comparison_says_nothing_of_the_kernels(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, of in (("loss_kernels", "fused_detection_loss"), ("match_kernels", "fused_make_targets")):
        module = SimpleNamespace(**{of: getattr(forms.PLAIN, of.removeprefix("fused_"))})
        monkeypatch.setitem(sys.modules, f"spinesearch.training.targets.{name}", module)
    with monkeypatch.context() as patch:
        patch.setattr(forms, "_check", Mock(side_effect=error))
        with pytest.raises(type(error)):
            forms._kernels(CPU)
    assert forms._kernels(CPU) is not forms.PLAIN  # they are looked at again
    assert not caplog.records


@pytest.mark.slow
@interpreted
@pytest.mark.usefixtures("fresh")
def test_a_training_with_the_kernels_is_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = run(boxes=[3, 0, 9, 2])
    monkeypatch.setattr(train_module, "step_forms", lambda kernels, device: forms._kernels(device))
    fused = run(replace(SETTINGS, kernels="auto"), boxes=[3, 0, 9, 2])
    assert fused[0] == pytest.approx(plain[0], rel=1e-5)
    for name, value in plain[1].items():
        assert_close(fused[1][name], value, rtol=1e-3, atol=1e-4)


COMPILE = """
import json, re, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from spinesearch.training.targets import loss_kernels, match_kernels

found = {}
def build(kernel, signature, **constants):
    source = ASTSource(
        fn=kernel, signature=signature | dict.fromkeys(constants, "constexpr"), constexprs=constants, attrs={}
    )
    options = {"enable_fp_fusion": kernel.__name__ in ("_focal_forward", "_focal_backward")}
    built = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    found[kernel.__name__] = sorted(set(re.findall(r"(?:fma|div)[.][a-z.]*f32", built.asm["ptx"])))

loss = {"classes": "*i64", "num_elements": "i64"}
for kernel in (loss_kernels._focal_forward, loss_kernels._focal_backward):
    more = {"sums": "*fp32"} if "forward" in kernel.__name__ else {"scale": "*fp32", "gradients": "*bf16"}
    build(kernel, {"logits": "*bf16"} | loss | more, num_classes=80, block=1024)
for kernel in (loss_kernels._huber_forward, loss_kernels._huber_backward):
    more = {"sums": "*fp32"} if "forward" in kernel.__name__ else {"scale": "*fp32", "gradients": "*bf16"}
    build(kernel, {"deltas": "*bf16", "codes": "*fp32"} | loss | more, block=1024)
match = {"anchors": "*fp32", "boxes": "*fp32", "labels": "*i64", "claims": "*i32"}
match |= {"num_rows": "i32", "num_anchors": "i32"}
build(match_kernels._claim, match, block=512)
build(match_kernels._assign, match | {"ends": "*i32", "classes": "*i64", "codes": "*fp32"}, block=512)
print(json.dumps(found))
"""


@pytest.mark.slow
@needs_triton
def test_the_kernels_compile_for_a_gpu_that_is_not_there() -> None:
    """To machine code for an H100, in a process that does not interpret; the matching exactly."""
    environment = os.environ | {"TRITON_INTERPRET": "0"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert len(found) == 6
    assert found["_claim"] == found["_assign"] == ["div.rn.f32"]
    assert "div.rn.f32" not in found["_focal_forward"]
