from dataclasses import replace

import pytest
import torch
from tiny_task import TINY_TASK

from spinesearch.proxy_task.computed_on import computed_on
from spinesearch.proxy_task.result import device_kind
from spinesearch.training.targets import forms

TF32 = "cuda, convolutions in TF32"


def test_on_cuda_a_score_says_which_kernels_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    def on_gpu(kernels: str) -> str:
        return computed_on(replace(TINY_TASK, kernels=kernels), torch.device("cuda", 0), TF32)

    monkeypatch.setattr(forms, "_kernels", lambda device: forms.OBJECTS_ALONE)
    found = [on_gpu(kernels) for kernels in ("off", "auto", "all")]
    assert found == [TF32, f"{TF32}, fused kernels", f"{TF32}, fused kernels, rewritten network"]
    assert {device_kind({"device": device}) for device in found} == {"cuda"}
    monkeypatch.setattr(forms, "_kernels", lambda device: forms.PLAIN)  # as without Triton
    assert on_gpu("auto") == TF32


def test_the_cpu_s_forms_are_equal_to_the_last_bit_and_not_told_apart() -> None:
    assert computed_on(replace(TINY_TASK, kernels="all"), torch.device("cpu"), "cpu") == "cpu"
