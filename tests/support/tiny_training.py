"""Long trainings at their least: a network of seven blocks and a few drawn images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from tiny_models import NARROW, TINY
from torch import Tensor, nn

from spinesearch.data.open import GeneratedDataSettings, ProxyData, open_training_data
from spinesearch.models.heads.detector import build_detector
from spinesearch.training.process.group import ProcessGroup
from spinesearch.training.run.long_training import LongTraining
from spinesearch.training.run.train_checkpoint import TrainCheckpoints
from spinesearch.training.run.train_settings import TrainSettings
from spinesearch.training.run.watcher import Measurement

NUM_IMAGES = 12
SETTINGS: dict[str, object] = {
    "image_size": 128,
    "num_scales": 1,
    "num_epochs": 2,
    "batch_size": 4,
    "optimizer": "sgd",
    "schedule": "cosine",
    "lr": 0.01,
    "scale_jitter": (0.8, 1.2),
    "stochastic_depth_rate": 0.2,
    "device": "cpu",
}


def settings(**changes: object) -> TrainSettings:
    return TrainSettings(**{**SETTINGS, **changes})  # type: ignore[arg-type]


def open_tiny(cache_dir: Path, pack_size: int = 153) -> ProxyData:
    data = GeneratedDataSettings(num_images=NUM_IMAGES, num_val_images=4, cache_dir=str(cache_dir))
    return open_training_data(data, pack_size=pack_size, image_size=128)


def tiny_model(wanted: TrainSettings, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_detector(
        TINY,
        num_classes=5,
        num_anchors=3,
        head_num_convs=1,
        head_num_filters=8,
        stochastic_depth_rate=wanted.stochastic_depth_rate,
        bn_momentum=0.1,
        **NARROW,
    )


class Notes:
    """A watcher that keeps everything it is told."""

    def __init__(self) -> None:
        self.began: list[int] = []
        self.losses: list[tuple[int, float]] = []
        self.saved_at: list[int] = []
        self.measured_at: list[int] = []
        self.measurements: list[Measurement] = []
        self.warnings: list[str] = []

    def begun(self, step: int, num_steps: int) -> None:
        self.began.append(step)

    def stepped(self, step: int, loss: float, lr: float) -> None:
        self.losses.append((step, loss))

    def saved(self, step: int) -> None:
        self.saved_at.append(step)

    def measured(self, measurement: Measurement, model: nn.Module) -> None:
        assert not model.training
        self.measured_at.append(measurement.step)
        self.measurements.append(measurement)

    def warned(self, message: str) -> None:
        self.warnings.append(message)


def train_in(
    folder: Path,
    data: ProxyData,
    wanted: TrainSettings,
    *,
    stop_at: int | None = None,
    identity: dict[str, object] | None = None,
    measured: tuple[int, ...] = (),
    prepare: Callable[[nn.Module], None] = lambda model: None,
) -> tuple[Notes, dict[str, Tensor]]:
    """What the watcher saw, and the network at the end or where it was stopped."""
    folder.mkdir(exist_ok=True)
    model, notes = tiny_model(wanted), Notes()
    prepare(model)
    training = LongTraining(
        model,
        data,
        wanted,
        seed=3,
        checkpoints=TrainCheckpoints(folder, identity or {"model": "tiny"}),
        group=ProcessGroup(),
        should_stop=lambda: bool(
            stop_at is not None and notes.began and len(notes.losses) + notes.began[0] >= stop_at
        ),
    )
    training.run(notes, measured)
    return notes, {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_equal_states(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """To the last bit."""
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name
