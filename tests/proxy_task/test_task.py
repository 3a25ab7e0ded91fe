import gc
import json
import subprocess
import sys
import weakref
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from picture_sets import picture, save_set, settings_for
from tiny_models import TINY as SPEC
from tiny_task import TINY_TASK
from torch import nn

from spinesearch.data.open import GeneratedDataSettings, ProxyData, open_data
from spinesearch.models.cost import count_multiply_adds
from spinesearch.proxy_task import task as task_module
from spinesearch.proxy_task.result import TaskResult
from spinesearch.proxy_task.task import ProxyTask
from spinesearch.results.studies.image_draws import Matched
from spinesearch.space import R0_SP53, SPINENET_49
from spinesearch.training.input import batches, device_pack
from spinesearch.training.measure.evaluate import CocoMetrics, evaluation_case
from spinesearch.training.measure.matched import matched_bytes
from spinesearch.training.step.divergence import TrainingDiverged
from spinesearch.training.targets.matching import make_targets

TINY = replace(TINY_TASK, scale_jitter=(0.8, 1.2), stochastic_depth_rate=0.2)
GENERATED = {"num_images": 16, "num_val_images": 2}


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def data(cache_dir: Path) -> ProxyData:
    return open_data(GeneratedDataSettings(cache_dir=str(cache_dir), **GENERATED), image_size=128)


@pytest.fixture(autouse=True)
def keep_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def score_with_losses(task: ProxyTask, seed: int) -> tuple[TaskResult, list[float]]:
    losses: list[float] = []
    result = task.score(SPEC, seed, on_step=lambda step, loss: losses.append(loss))
    assert len(losses) == task.recipe.num_steps
    return result, losses


@pytest.mark.slow
def test_same_seed_same_bits_whatever_ran_before(data: ProxyData) -> None:
    first = score_with_losses(ProxyTask(TINY, data), seed=7)
    task = ProxyTask(TINY, data)
    task.score(R0_SP53, seed=3)
    torch.manual_seed(123)
    np.random.default_rng(0).random(10)
    torch.rand(1000)
    torch.set_num_threads(2)
    assert score_with_losses(task, seed=7) == first
    assert score_with_losses(task, seed=8) != first


def test_a_seed_decides_the_initial_weights(data: ProxyData) -> None:
    initial: list[dict[str, torch.Tensor]] = []
    build = task_module.build_model

    def noted(*args: Any, **kwargs: Any) -> nn.Module:
        model: nn.Module = build(*args, **kwargs)
        initial.append({name: value.clone() for name, value in model.state_dict().items()})
        return model

    task = ProxyTask(TINY, data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task_module, "build_model", noted)
        for seed in (7, 7, 8):
            task.score(SPEC, seed)
    first, again, other = initial
    kernels = [name for name, value in first.items() if value.ndim == 4]
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in kernels)


def test_detections_are_scored_in_the_pixels_of_the_images(data: ProxyData) -> None:
    """A model that knows every object, in the pixels of its input, which are fewer than the images have."""
    task = ProxyTask(TINY, data)
    assert (data.pack.scales[data.held_out_index] < 0.9).any()
    anchors, rows = task._anchors, iter(data.held_out_index.tolist())

    class Oracle(nn.Module):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            index = [next(rows) for _ in range(len(images))]
            boxes, labels = (torch.from_numpy(values[index]) for values in (data.boxes, data.labels))
            classes, codes = make_targets(anchors, boxes, labels)
            logits = torch.full((*classes.shape, data.num_classes), -20.0)
            best = classes.clamp(min=0).unsqueeze(-1)
            logits.scatter_(2, best, torch.where(classes >= 0, 5.0, -20.0).unsqueeze(-1))
            return logits, codes

    found = task.find(Oracle())
    metrics = task.metrics(found)
    assert metrics.ap == pytest.approx(1.0, abs=0.02)
    matched = Matched.from_bytes(
        matched_bytes(evaluation_case(data.dataset, data.held_out_index, *found[:3]))
    )
    once = np.ones((1, len(data.held_out_index)))
    for name in ("ap", "ap50", "ap75", "ar100"):
        assert matched.metric(name, once) == pytest.approx(getattr(metrics, name), abs=1e-12)


def test_same_seed_same_bits_in_another_process(data: ProxyData, cache_dir: Path) -> None:
    here = ProxyTask(TINY, data).score(SPINENET_49, seed=7)
    code = f"""
import json, torch
from spinesearch.data.open import GeneratedDataSettings, open_data
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.proxy_task.task import ProxyTask
from spinesearch.space import SPINENET_49
data = open_data(GeneratedDataSettings(cache_dir={str(cache_dir)!r}, **{GENERATED!r}), image_size=128)
task = ProxyTask(ProxySettings(**{asdict(TINY)!r}), data)
print(json.dumps(task.score(SPINENET_49, seed=7).to_dict()))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert TaskResult(**json.loads(run.stdout)) == here


def test_measuring_on_the_way_changes_nothing(data: ProxyData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every bit of the training's end, and each point is what the training would have been measured as."""
    images = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))

    def answer(self: ProxyTask, model: nn.Module) -> float:
        """In the place of detections, of which there are none so early: it depends on every weight."""
        model.eval()
        with torch.inference_mode():
            return float(model(images)[0].mean())

    names = [field.name for field in fields(CocoMetrics)]
    monkeypatch.setattr(ProxyTask, "find", answer)
    monkeypatch.setattr(ProxyTask, "metrics", lambda self, value: CocoMetrics(**dict.fromkeys(names, value)))
    # Stochastic depth draws from the global generator; a schedule in steps begins as a shorter one does.
    settings = replace(TINY, num_steps=6, schedule="step", decay_at=(0.99,))
    plain, plain_losses = score_with_losses(ProxyTask(settings, data), seed=7)
    result, losses = score_with_losses(ProxyTask(replace(settings, measure_at=(1, 3, 6)), data), seed=7)
    assert losses == plain_losses
    assert replace(result, curve=()) == plain
    assert result.mean_loss == pytest.approx(np.mean(losses))
    three = ProxyTask(replace(settings, num_steps=3), data).score(SPEC, seed=7)
    first, second, last = result.curve
    assert first[:2] == (1, pytest.approx(losses[0]))
    assert second == (3, three.loss, three.ap)
    assert last == (6, result.loss, result.ap)
    assert len({first[2], second[2], last[2]}) == 3


def test_global_state_is_left_as_it_was(data: ProxyData) -> None:
    torch.set_num_threads(2)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    during: list[int] = []
    settings = replace(TINY, num_steps=1)
    ProxyTask(settings, data).score(
        SPEC, seed=0, on_step=lambda step, loss: during.append(torch.get_num_threads())
    )
    assert during == [1]
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), state)


def test_candidates_of_one_seed_see_the_same_batches(
    data: ProxyData, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[np.ndarray]] = [[]]  # type: ignore[type-arg]
    load = batches.load_batch

    def spy(data: ProxyData, index: np.ndarray, device: torch.device) -> object:  # type: ignore[type-arg]
        seen[-1].append(index)
        return load(data, index, device)

    monkeypatch.setattr(batches, "load_batch", spy)
    task = ProxyTask(TINY, data)
    for spec in (SPEC, R0_SP53):
        task.score(spec, seed=1)
        seen.append([])
    assert all(np.array_equal(a, b) for a, b in zip(seen[0], seen[1], strict=True))
    train, held_out = seen[0][:3], seen[0][3:]  # 2 steps and 1 batch of recalibration
    assert set(np.concatenate(train)) <= set(data.train_index)
    assert np.concatenate(held_out).tolist() == data.held_out_index.tolist()


def test_images_of_their_own_are_scored_as_if_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes, boxes and pixels are those of the set that is scored on."""
    save_set(tmp_path / "train", [(f"{i}.png", picture(i)) for i in range(6)])
    save_set(tmp_path / "score", [(f"{i}.png", picture(90 + i, (50, 200 - 20 * i))) for i in range(5)])
    apart = settings_for(
        tmp_path / "train",
        tmp_path / "cache",
        score_images=str(tmp_path / "score" / "images"),
        score_annotations=str(tmp_path / "score" / "instances.json"),
    )
    alone = open_data(settings_for(tmp_path / "score", tmp_path / "cache"), image_size=128)
    seen: list[tuple[Any, ...]] = []
    monkeypatch.setattr(task_module, "coco_metrics", lambda *arguments, **options: seen.append(arguments))
    model = task_module.build_model(SPEC, TINY, num_classes=1)
    for data in (open_data(apart, image_size=128), replace(alone, held_out_index=np.arange(5))):
        ProxyTask(TINY, data).evaluate(model)
    (dataset, *found), (expected_dataset, *expected) = seen
    assert list(dataset.images) == list(expected_dataset.images)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_result_says_what_was_done(data: ProxyData) -> None:
    result = ProxyTask(TINY, data).score(SPEC, seed=0)
    detector = task_module.build_model(SPEC, TINY, num_classes=5)
    assert result.num_steps == 2
    assert result.num_parameters == sum(p.numel() for p in detector.parameters())
    assert result.num_multiply_adds == count_multiply_adds(detector, TINY.image_size)
    assert 0 < result.train_seconds < result.seconds
    assert result.images_per_s == pytest.approx(8 / result.train_seconds)
    assert 0 <= result.ap <= 1
    assert TaskResult(**json.loads(json.dumps(result.to_dict()))) == result


def test_divergence_raises_at_once_and_releases_the_model(
    data: ProxyData, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[weakref.ref[nn.Module]] = []
    build = task_module.build_model

    def spy(*args: object, **kwargs: object) -> nn.Module:
        model: nn.Module = build(*args, **kwargs)  # type: ignore[arg-type]
        models.append(weakref.ref(model))
        return model

    monkeypatch.setattr(task_module, "build_model", spy)
    steps: list[int] = []
    task = ProxyTask(replace(TINY, optimizer="sgd", lr=1e30, num_steps=50), data)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(TrainingDiverged, match=r"not finite at step (1|2)$") as caught:
            task.score(SPEC, seed=0, on_step=lambda step, loss: steps.append(step))
        assert models[0]() is None  # although the error is still held, and without the garbage collector
    finally:
        gc.enable()
    assert steps == list(range(caught.value.step))
    assert ProxyTask(TINY, data).score(SPEC, seed=0).loss < 10  # the worker lives on


def test_data_of_another_size_are_refused(data: ProxyData) -> None:
    with pytest.raises(ValueError, match=r"^proxy_task\.image_size: is 256 but the data were opened at 128"):
        ProxyTask(replace(TINY, image_size=256), data)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_refused(data: ProxyData) -> None:
    with pytest.raises(ValueError, match=r"^proxy_task\.device: is cuda"):
        ProxyTask(replace(TINY, device="cuda"), data)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_scores_on_cuda_close_to_the_cpu(data: ProxyData) -> None:
    cpu = ProxyTask(TINY, data).score(SPEC, seed=0)
    cuda = ProxyTask(replace(TINY, device="cuda"), data).score(SPEC, seed=0)
    assert cuda.loss == pytest.approx(cpu.loss, rel=0.05)


def test_bfloat16_is_close_to_float32(data: ProxyData) -> None:
    settings = replace(TINY, stochastic_depth_rate=0.0)
    full = ProxyTask(settings, data).score(SPEC, seed=0)
    half = ProxyTask(replace(settings, precision="bfloat16"), data).score(SPEC, seed=0)
    assert half.loss == pytest.approx(full.loss, rel=0.05)
    assert half.loss != full.loss


@pytest.mark.slow
def test_a_pack_on_the_device_gives_the_same_result(data: ProxyData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics after training, and evaluation, included; the device is the CPU here."""
    expected = score_with_losses(ProxyTask(TINY, data), seed=7)
    monkeypatch.setattr(device_pack, "fits", lambda data, device: True)
    task = ProxyTask(replace(TINY, pack_on_device="auto"), data)
    assert task._batches.pack is not None
    assert score_with_losses(task, seed=7) == expected
