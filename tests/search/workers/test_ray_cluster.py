"""How a search connects to a Ray, and what it asks of one."""

import os
import socket
import time

import pytest
import ray

from spinesearch.search.config.run_config import ConfigError
from spinesearch.search.workers import ray_cluster
from spinesearch.search.workers.trial_resources import TrialResources, trial_resources

pytestmark = pytest.mark.ray


def test_a_connection_that_exists_is_used(cluster):
    assert ray_cluster.connect("local", num_cpus=1) is False


def test_an_address_where_nobody_listens_fails_at_once(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(ConfigError, match=rf"no Ray at '127.0.0.1:{port}'.*refused; start one"):
        ray_cluster.connect(f"127.0.0.1:{port}", num_cpus=1)
    assert time.monotonic() - started < 5
    with pytest.raises(ConfigError, match="an address is local, auto or HOST:PORT"):
        ray_cluster.connect("nonsense", num_cpus=1)
    assert "RAY_ADDRESS" not in os.environ


def test_what_a_worker_needs_is_checked_where_the_cluster_cannot_grow(cluster):
    assert trial_resources(1, None, None, may_grow=False) == TrialResources(cpus=1)
    with pytest.raises(ConfigError, match=r"search.gpus_per_trial: 1 asked for, but this Ray has 0 GPUs"):
        trial_resources(1, 1, None, may_grow=False)
    with pytest.raises(ConfigError, match=r"search.resources_per_trial: 2 a100 asked for, but"):
        trial_resources(1, 0, {"a100": 2}, may_grow=False)
    with pytest.raises(ConfigError, match=r"search.cpus_per_trial: 64 asked for, but this Ray has 2 CPUs"):
        trial_resources(64, 0, None, may_grow=False)
    needs = trial_resources(1, 0.5, {"a100": 2}, may_grow=True)
    assert str(needs) == "1 CPU and 0.5 GPU and 2 a100"
