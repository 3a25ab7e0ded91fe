"""What is measured is a candidate's own training, and the phases leave none of its time out."""

import itertools
import time
from dataclasses import replace

import pytest
import torch
from recorded_graph import CallAgain, Sessions

from spinesearch.cli.proxy.bench import bench_lines
from spinesearch.data.data_settings import GeneratedDataSettings
from spinesearch.data.open import ProxyData, open_data
from spinesearch.proxy_task import bench
from spinesearch.proxy_task import task as task_module
from spinesearch.proxy_task.bench import NUM_WARMUP_STEPS, bench_proxy, matmul_rate
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.proxy_task.task import PHASES, ProxyTask
from spinesearch.space import SPINENET_49
from spinesearch.training.process.stopwatch import Phase, Stopwatch
from spinesearch.training.step.train import STEP_PHASES

SETTINGS = ProxySettings(
    num_steps=300,
    batch_size=2,
    filter_size_scale=0.125,
    endpoints_num_filters=16,
    head_num_convs=1,
    head_num_filters=16,
    num_scales=1,
    optimizer="adamw",
    lr=1e-3,
    bn_recalibration_batches=1,
    device="cpu",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> ProxyData:
    settings = GeneratedDataSettings(
        num_images=12,
        num_val_images=0,
        held_out_share=0.3,
        cache_dir=str(tmp_path_factory.mktemp("cache")),
    )
    return open_data(settings, image_size=128)


def test_laps_follow_the_candidate_and_change_nothing(data: ProxyData):
    """Every phase once, in order, in every step; and the score with a stopwatch is the score without."""
    task = ProxyTask(replace(SETTINGS, num_steps=3), data)
    names: list[str] = []
    timed = task.score(SPINENET_49, 0, lap=names.append)
    assert names == ["build", *3 * STEP_PHASES, "recalibration", "evaluation"]
    assert timed == task.score(SPINENET_49, 0)


def test_a_stopwatch_measures_from_one_call_to_the_next(monkeypatch):
    monkeypatch.setattr(time, "perf_counter", iter([5.0, 6.0, 8.5, 8.5]).__next__)
    stopwatch = Stopwatch(torch.device("cpu"))
    for name in ("a", "b", "a"):
        stopwatch(name)
    assert stopwatch.phases() == [("a", 1.0), ("b", 2.5), ("a", 0.0)]


def test_the_phases_make_up_the_candidate(data: ProxyData):
    started = time.perf_counter()
    result = bench_proxy(SETTINGS, data, SPINENET_49, num_steps=6, seed=0, num_warmup_steps=1)
    wall_s = time.perf_counter() - started
    assert result.num_steps == 6
    assert tuple(result.phases) == STEP_PHASES
    assert tuple(result.overhead) == PHASES
    assert all(spread.low <= spread.median <= spread.high for spread in result.phases.values())
    assert result.step.low <= 2 / result.images_per_s <= result.step.high
    assert result.graph_step is None
    assert result.full_steps == 300
    assert result.candidate_seconds == pytest.approx(sum(result.overhead.values()) + 300 * result.step.median)
    assert sum(result.overhead.values()) + 6 * result.step.low < wall_s
    assert result.flops_per_s == pytest.approx(result.images_per_s * result.multiply_adds * 6)
    assert 0 < result.flops_per_s < result.matmul_flops_per_s
    assert 100 * 2**20 < result.peak_memory < 2**36  # a process with torch in it
    assert (result.device, result.dtype, result.batch_size) == ("cpu", "float32", 2)


@pytest.mark.slow
def test_warm_up_is_not_counted(data: ProxyData, monkeypatch):
    """The first steps of this candidate seem to take hours, and what is done once as well."""

    class Slow(Stopwatch):
        def phases(self) -> list[Phase]:
            phases = super().phases()
            num_early = 1 + NUM_WARMUP_STEPS * len(STEP_PHASES)  # the building of the model comes first
            return [Phase(p.name, p.seconds + 9999) for p in phases[:num_early]] + phases[num_early:]

    monkeypatch.setattr(bench, "Stopwatch", Slow)
    monkeypatch.setattr(bench, "matmul_rate", lambda device, dtype: 1e12)
    result = bench_proxy(SETTINGS, data, SPINENET_49, num_steps=4, seed=0)
    assert result.num_steps == 4
    assert result.step.high < 9999
    assert result.overhead["build"] > 9999


@pytest.mark.slow
def test_with_a_graph_the_phases_are_eager_and_the_rate_is_the_graphs(data: ProxyData, monkeypatch):
    """Eager steps seem to take ten seconds more, those in the graph do not."""

    class Slow(Stopwatch):
        def phases(self) -> list[Phase]:
            return [Phase(p.name, p.seconds + 10 * (p.name == "backward")) for p in super().phases()]

    sessions = Sessions(CallAgain)
    for module in (bench, task_module):
        monkeypatch.setattr(
            module, "find_session", lambda cuda_graph, device: sessions if cuda_graph == "auto" else None
        )
    monkeypatch.setattr(bench, "Stopwatch", Slow)
    monkeypatch.setattr(bench, "matmul_rate", lambda device, dtype: 1e12)
    result = bench_proxy(SETTINGS, data, SPINENET_49, num_steps=2, seed=0)
    assert len(sessions.graphs) in (1, 2)
    assert tuple(result.phases) == STEP_PHASES
    assert result.phases["backward"].low > 10
    assert result.step.low > 10
    assert result.graph_step is not None
    assert result.graph_step.high < 10
    assert result.images_per_s > 2 / 10
    assert result.candidate_seconds < 300 * 10
    assert 0 <= result.overhead["graph capture"] < 10
    assert bench_lines(result)[:2] == [
        f"{result.images_per_s:.0f} training images/s with the step in a CUDA graph, "
        f"{1e3 * result.graph_step.median:.2f} ms a step",
        "  0 without, as in the table above; all below is with it",
    ]
    assert max(map(len, bench_lines(result))) <= 80


@pytest.mark.slow
def test_epochs_become_steps(data: ProxyData):
    settings = replace(SETTINGS, num_steps=None, num_epochs=10.0)
    result = bench_proxy(settings, data, SPINENET_49, num_steps=1, seed=0)
    assert result.num_steps == 1
    assert result.full_steps == round(10 * len(data.train_index) / 2)


@pytest.mark.parametrize("side", [64, 128])
def test_the_rate_of_a_matrix_product_is_that_of_its_size(side: int, monkeypatch):
    """By a clock on which every product takes two seconds."""
    monkeypatch.setitem(bench._MATMUL_SIDES, "cpu", side)
    monkeypatch.setattr(time, "perf_counter", itertools.count(step=2.0).__next__)
    assert matmul_rate(torch.device("cpu"), torch.float32) == 2 * side**3 / 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_on_a_gpu(data: ProxyData, precision: str):
    settings = replace(SETTINGS, device="cuda", precision=precision)
    result = bench_proxy(settings, data, SPINENET_49, num_steps=10, seed=0)
    assert (result.device, result.dtype) == ("cuda", precision)
    assert result.graph_step is not None
    assert result.step.median == pytest.approx(sum(s.median for s in result.phases.values()), rel=0.5)
    assert 0 < result.flops_per_s < result.matmul_flops_per_s
    assert 2**20 < result.peak_memory < torch.cuda.get_device_properties(0).total_memory


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_stopwatch_on_a_gpu_waits_for_the_work_but_does_not_make_it_wait():
    device = torch.device("cuda")
    a = torch.randn(8192, 8192, device=device)
    torch.mm(a, a)
    torch.cuda.synchronize()
    stopwatch = Stopwatch(device)
    started = time.perf_counter()
    torch.mm(a, a)
    stopwatch("product")
    launched_s = time.perf_counter() - started
    (product,) = stopwatch.phases()
    assert product.seconds > 2 * 8192**3 / 2e15  # no device is that fast
    assert launched_s < product.seconds
