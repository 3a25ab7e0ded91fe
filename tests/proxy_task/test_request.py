"""Trainings that go on from shorter ones, and the files that they leave."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_task import TINY_TASK

from spinesearch.data.open import GeneratedDataSettings, ProxyData, open_data
from spinesearch.models.weights import load_detector
from spinesearch.proxy_task.request import DETECTIONS, STATE, WEIGHTS, TrainingRequest
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.proxy_task.task import ProxyTask
from spinesearch.space import SPINENET_49

SETTINGS = replace(
    TINY_TASK,
    num_steps=4,
    scale_jitter=(0.8, 1.2),
    stochastic_depth_rate=0.2,
    optimizer="muon",
    schedule="constant_decay",
    decay_at=(0.5,),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ProxyData:
    settings = GeneratedDataSettings(
        cache_dir=str(tmp_path_factory.mktemp("cache")), num_images=16, num_val_images=2
    )
    return open_data(settings, image_size=128)


def test_goes_on_from_a_shorter_training_and_keeps_the_weights(data: ProxyData, tmp_path: Path) -> None:
    settings = replace(SETTINGS, num_steps=7, measure_at=(1, 2, 5))
    whole = ProxyTask(settings, data).score(SPINENET_49, 3)
    assert [step for step, *_ in whole.curve] == [1, 2, 5]
    task = ProxyTask(settings, data)
    wanted = TrainingRequest(num_steps=4, wants=frozenset({STATE}))
    short = task.train(SPINENET_49, 3, wanted)
    assert short.result.num_steps == 4
    assert short.result.curve == whole.curve[:2]
    assert list(short.files) == [STATE]
    steps: list[int] = []
    going_on = TrainingRequest(state=short.files[STATE], wants=frozenset({WEIGHTS, DETECTIONS}))
    trained = task.train(SPINENET_49, 3, going_on, on_step=lambda step, loss: steps.append(step))
    assert steps == [2, 3, 4, 5, 6]  # the first two were taken before
    assert trained.result == whole
    assert short.result != whole
    assert sorted(trained.files) == [DETECTIONS, "weights.json", WEIGHTS]
    for name, content in trained.files.items():
        (tmp_path / name).write_bytes(content)
    model = load_detector(tmp_path / WEIGHTS)
    assert task.evaluate(model).ap == pytest.approx(whole.ap)
    assert all(bool(torch.isfinite(value).all()) for value in model.state_dict().values())


def test_other_schedules_leave_no_state(data: ProxyData) -> None:
    """A cosine is as long as its training, so that a longer one has other rates from the first step on."""
    task = ProxyTask(replace(SETTINGS, schedule="cosine", decay_at=()), data)
    request = TrainingRequest(num_steps=1, wants=frozenset({STATE}))
    assert task.train(SPINENET_49, 0, request).files == {}


def test_the_constant_rate_needs_its_end() -> None:
    for decay_at in ((), (0.5, 0.7)):
        with pytest.raises(ValueError, match=r"proxy_task.decay_at: the schedule constant_decay needs one"):
            ProxySettings(num_steps=4, schedule="constant_decay", decay_at=decay_at)
