"""A captured step trains as an eager one: on the CPU by recorded operations, on a GPU by CUDA graphs."""

from __future__ import annotations

import gc
from dataclasses import replace
from functools import partial

import pytest
import torch
from long_suite import few
from recorded_graph import CallAgain, NotCapturable, Sessions
from small_training import CPU, FEW, MIXED, NUM_STEPS, SETTINGS, Cells, assert_same, make_batches, run
from torch import Tensor, nn
from torch.testing import assert_close

from spinesearch.models import layers, resample
from spinesearch.models.heads.detector import build_detector
from spinesearch.space import SPINENET_49
from spinesearch.training.input.augment import Batch
from spinesearch.training.optim.optimizer import FlatOptimizer
from spinesearch.training.step import train as train_module
from spinesearch.training.step.captured_step import CapturedStep, CaptureFailed, padded_rows
from spinesearch.training.step.divergence import TrainingDiverged
from spinesearch.training.step.train import GRAPH_PHASES

SMALL = {
    "num_classes": 3,
    "num_anchors": 3,
    "head_num_convs": 1,
    "head_num_filters": 8,
    "filter_size_scale": 0.0625,
    "resample_alpha": 0.5,
    "endpoints_num_filters": 8,
    "stem_filters": 8,
}


@pytest.fixture
def on_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The optimiser works as on CUDA, and the layers too."""
    monkeypatch.setattr(train_module, "FlatOptimizer", partial(FlatOptimizer, is_capturable=True))
    for module in (layers, resample):
        monkeypatch.setattr(module, "can_rewrite", lambda *args: False)


@pytest.mark.parametrize("boxes", [FEW, MIXED])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_steps_from_static_inputs_are_the_eager_ones_bit_for_bit(optimizer: str, boxes: list[int]) -> None:
    settings = replace(SETTINGS, optimizer=optimizer)
    sessions = Sessions(CallAgain)
    assert_same(run(settings, sessions, boxes=boxes), run(settings, boxes=boxes))
    assert len(sessions.graphs) == (1 if boxes is FEW else 2)


@pytest.mark.usefixtures("on_device")
@pytest.mark.parametrize("boxes", [FEW, MIXED])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_replayed_operations_are_the_eager_steps_bit_for_bit(optimizer: str, boxes: list[int]) -> None:
    """Rate, augmentation, dropped branches, momenta and counts go on from step to step without Python."""
    settings = replace(SETTINGS, optimizer=optimizer)
    sessions = Sessions()
    assert_same(run(settings, sessions, boxes=boxes), run(settings, boxes=boxes))
    assert len(sessions.graphs) == (1 if boxes is FEW else 2)


@pytest.mark.usefixtures("on_device")
@pytest.mark.parametrize("precision", few(["float32", "bfloat16"], 1))
def test_a_whole_detector_is_captured(precision: str) -> None:
    settings = replace(SETTINGS, precision=precision)

    def detector() -> nn.Module:
        torch.manual_seed(1)
        return build_detector(SPINENET_49, **SMALL, stochastic_depth_rate=0.2)

    boxes = FEW[:6]
    one = run(settings, Sessions(), boxes=boxes, model=detector())
    assert_same(one, run(settings, boxes=boxes, model=detector()))


def test_a_rate_that_is_a_python_number_would_be_noticed() -> None:
    """What the tests above would miss if they could not fail."""
    settings = replace(SETTINGS, optimizer="sgd")
    captured, eager = run(settings, Sessions())[0], run(settings)[0]
    assert captured[:4] == eager[:4]  # the first replay has the rate of the capture
    assert captured[5:] != eager[5:]


class Impatient(Cells):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits, codes = super().forward(images)
        return logits * (1.0 if logits.sum().item() > 1e9 else 2.0), codes


@pytest.mark.usefixtures("on_device")
def test_a_step_that_reads_a_value_is_not_captured() -> None:
    with pytest.raises(CaptureFailed, match=r"^NotCapturable: aten._local_scalar_dense") as caught:
        run(SETTINGS, Sessions(), model=Impatient())
    assert isinstance(caught.value.__cause__, NotCapturable)


@pytest.mark.parametrize(("optimizer", "tolerance"), [("sgd", 1e-5), ("adamw", 1e-4), ("muon", 1e-4)])
def test_the_optimisers_of_cuda_are_those_of_the_cpu(optimizer: str, tolerance: float, monkeypatch) -> None:
    """Other kernels, so other rounding, which the steps amplify."""
    settings = replace(SETTINGS, optimizer=optimizer, lr=0.01)
    plain = run(settings)
    monkeypatch.setattr(train_module, "FlatOptimizer", partial(FlatOptimizer, is_capturable=True))
    fused = run(settings)
    assert_close(fused[0], plain[0], rtol=tolerance, atol=0)


def test_the_phases_of_a_captured_training() -> None:
    laps: list[str] = []
    run(SETTINGS, Sessions(CallAgain), laps=laps)
    assert laps == [*GRAPH_PHASES] * NUM_STEPS


@pytest.mark.parametrize(
    ("num_rows", "padded"), [(0, 8), (1, 8), (8, 8), (9, 16), (16, 16), (17, 32), (93, 128), (128, 128)]
)
def test_rows_are_padded_to_powers_of_two(num_rows: int, padded: int) -> None:
    assert padded_rows(num_rows) == padded


def test_nothing_of_a_batch_is_left_for_the_next() -> None:
    seen: list[Batch] = []
    captured = CapturedStep(
        lambda inputs: seen.append(inputs.batch.each(torch.clone)) or (torch.ones(()),) * 2,
        CallAgain,
        CPU,
    )
    batches = make_batches([8, 3, 12, 0, 5])
    where = []
    for batch in batches:
        rows = captured.load(batch, torch.rand(4, 3))
        captured.run(rows)
        where.append(captured._slots[rows].inputs.batch.images.data_ptr())
        num_boxes = batch.boxes.shape[1]
        assert torch.equal(seen[-1].images, batch.images)
        assert seen[-1].images.stride() == batch.images.stride()
        assert torch.equal(seen[-1].boxes[:, :num_boxes], batch.boxes)
        assert torch.equal(seen[-1].labels[:, :num_boxes], batch.labels)
        assert (seen[-1].boxes[:, num_boxes:] == 0).all()
        assert (seen[-1].labels[:, num_boxes:] == -1).all()
    assert len(set(where)) == 1
    assert batches[0].images.data_ptr() not in where


def test_divergence_in_a_replay_is_noticed_and_closes_the_session() -> None:
    sessions = Sessions(CallAgain)
    with pytest.raises(TrainingDiverged) as caught:
        run(replace(SETTINGS, optimizer="sgd", lr=1e20, warmup_steps=0), sessions, boxes=[3] * 20)
    assert sessions.num_open == 0
    assert caught.value.step < 20


@pytest.mark.slow
@pytest.mark.usefixtures("on_device")
def test_no_tensor_of_a_captured_training_stays() -> None:
    def alive() -> int:
        gc.collect()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    run(SETTINGS, Sessions())
    before = alive()
    for _ in range(3):
        run(SETTINGS, Sessions())
        assert alive() == before
