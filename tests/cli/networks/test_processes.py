"""How the processes that torchrun started meet."""

from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist

from spinesearch.cli.networks.processes import joined_group


@pytest.mark.parametrize(("num_gpus", "backend"), [(2, "cpu:gloo,cuda:nccl"), (0, "gloo")])
def test_what_is_no_tensor_passes_the_gpus_by_and_the_first_may_pack_for_hours(
    num_gpus: int, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WORLD_SIZE", 2), ("RANK", 1), ("LOCAL_RANK", 1), ("LOCAL_WORLD_SIZE", 2)):
        monkeypatch.setenv(name, str(value))
    said: list[Any] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: num_gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    monkeypatch.setattr(torch.cuda, "set_device", said.append)
    monkeypatch.setattr(dist, "init_process_group", lambda backend, timeout: said.extend((backend, timeout)))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: said.append("left"))
    with joined_group("auto"):
        pass
    assert said == [*[1] * (num_gpus > 0), backend, timedelta(hours=6), "left"]
