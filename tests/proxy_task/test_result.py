from dataclasses import replace

from spinesearch.proxy_task.result import TaskResult, device_kind

RESULT = TaskResult(
    ap=0.25,
    ap50=0.5,
    ap75=0.2,
    ap_small=None,
    ap_medium=0.1,
    ap_large=0.3,
    ar100=0.4,
    loss=0.7,
    mean_loss=0.9,
    num_steps=200,
    num_parameters=1000,
    num_multiply_adds=2000,
    seconds=20.0,
    train_seconds=18.0,
    images_per_s=177.7,
)


def test_durations_do_not_count_in_comparison() -> None:
    assert replace(RESULT, seconds=1.0, train_seconds=0.5, images_per_s=2.0) == RESULT
    assert replace(RESULT, loss=0.71) != RESULT


def test_a_curve_is_in_the_ledger_only_where_one_was_asked_for() -> None:
    assert "curve" not in RESULT.to_dict()
    assert replace(RESULT, curve=((50, 0.9, 0.1),)).to_dict()["curve"] == ((50, 0.9, 0.1),)


def test_a_gpu_is_in_the_ledger_and_a_cpu_is_not() -> None:
    assert "device" not in RESULT.to_dict()
    on_gpu = replace(RESULT, device="cuda, convolutions in TF32")
    assert on_gpu.to_dict()["device"] == "cuda, convolutions in TF32"
    assert on_gpu != RESULT
    assert [device_kind(result.to_dict()) for result in (RESULT, on_gpu)] == ["cpu", "cuda"]
