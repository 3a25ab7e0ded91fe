"""How a search connects to a Ray, and what it asks of one."""

import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.search.config.run_config import ConfigError
from spinesearch.search.workers import ray_cluster
from spinesearch.search.workers.trial_resources import TrialResources, trial_resources

pytestmark = pytest.mark.ray


def test_a_connection_that_exists_is_used(cluster):
    with ray_cluster.connected("local", num_cpus=1):
        assert ray.is_initialized()
    assert ray.is_initialized()


def test_an_address_where_nobody_listens_fails_at_once(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(ConfigError, match=rf"no Ray at '127.0.0.1:{port}'.*refused; start one"):
        ray_cluster.connected(f"127.0.0.1:{port}", num_cpus=1).__enter__()
    assert time.monotonic() - started < 5
    with pytest.raises(ConfigError, match="an address is local, auto or HOST:PORT"):
        ray_cluster.connected("nonsense", num_cpus=1).__enter__()
    assert "RAY_ADDRESS" not in os.environ


def test_a_worker_without_a_gpu_trains_on_the_processor_unless_a_device_is_set():
    task = ProxySettings(num_steps=1)
    assert TrialResources(cpus=1).placed(task).device == "cpu"
    assert TrialResources(cpus=1, gpus=0.5).placed(task).device == "cuda"
    assert TrialResources(cpus=1).placed(replace(task, device="cuda")).device == "cuda"


def test_what_a_worker_needs_is_checked_where_the_cluster_cannot_grow(cluster):
    assert trial_resources(1, None, None, may_grow=False) == TrialResources(cpus=1)
    with pytest.raises(ConfigError, match=r"search.gpus_per_trial: 1 requested, but this Ray has 0 GPUs"):
        trial_resources(1, 1, None, may_grow=False)
    with pytest.raises(ConfigError, match=r"search.resources_per_trial: 2 a100 requested, but"):
        trial_resources(1, 0, {"a100": 2}, may_grow=False)
    with pytest.raises(ConfigError, match=r"search.cpus_per_trial: 64 requested, but this Ray has 2 CPUs"):
        trial_resources(64, 0, None, may_grow=False)
    needs = trial_resources(1, 0.5, {"a100": 2}, may_grow=True)
    assert str(needs) == "1 CPU and 0.5 GPU and 2 a100"


@pytest.fixture
def no_ray(monkeypatch):
    """A process that is not connected, and whose environment says nothing to Ray."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", "RAY_TMPDIR", "TMPDIR"):
        monkeypatch.setenv(name, "")  # so that it is as before at the end, whatever is set meanwhile
        monkeypatch.delenv(name)

    def connect(*, error: Exception | None = None) -> str | None:
        """The token that Ray is started with; or Ray fails so."""
        tokens: list[str | None] = []

        def init(**options: object) -> None:
            if error is not None:
                raise error
            tokens.append(os.environ.get("RAY_AUTH_TOKEN"))

        monkeypatch.setattr(ray, "init", init)
        monkeypatch.setattr(ray, "shutdown", lambda: tokens.append("shut down"))
        with ray_cluster.connected("local", num_cpus=1):
            (token,) = tokens
        assert tokens == [token, "shut down"]
        return token

    return connect


def test_a_ray_of_our_own_has_a_token_without_a_home_folder(no_ray):
    """Otherwise Ray writes one to the home folder."""
    token = no_ray()
    assert token is not None
    assert len(token) == 64
    assert no_ray() == token  # Ray remembers the first one in this process


@pytest.mark.parametrize("name", ["RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"])
def test_a_chosen_protection_is_left_as_it_is(no_ray, monkeypatch, name: str):
    monkeypatch.setenv(name, "disabled")
    assert no_ray() is None


SOCKET = "/ray/session_2026-11-27_12-12-36_215006_2647/sockets/plasma_store"


@pytest.mark.parametrize(
    ("variable", "folder", "error", "reason"),
    [
        (
            "TMPDIR",
            "/scratch/" + 50 * "x",
            OSError(
                f"validate_socket_filename failed: AF_UNIX path length cannot exceed 107 bytes: {SOCKET}"
            ),
            " (from TMPDIR) is too long for Ray's sockets",
        ),
        (
            "RAY_TMPDIR",
            "/theirs",
            PermissionError(13, "Permission denied", "/theirs/ray/session_latest"),
            " (from RAY_TMPDIR): Permission denied: /theirs/ray/session_latest",
        ),
        (
            "",
            "/tmp",
            PermissionError(13, "Permission denied", "/tmp/ray/session_2026"),
            " (from the default): Permission denied: /tmp/ray/session_2026",
        ),
    ],
)
def test_a_folder_that_ray_cannot_use_is_named_with_its_setting(
    no_ray, monkeypatch, variable: str, folder: str, error: OSError, reason: str
):
    if variable:
        monkeypatch.setenv(variable, folder)
    with pytest.raises(ConfigError) as refusal:
        no_ray(error=error)
    line = str(refusal.value)
    assert line.startswith("RAY_TMPDIR: ")
    assert f"{folder}/ray{reason}" in line
    assert "set RAY_TMPDIR to a short path of a local folder" in line
    assert "search.ray_address" not in line


def test_other_failures_of_ray_name_the_address(no_ray):
    with pytest.raises(ConfigError, match=r"search.ray_address: Ray cannot be used at 'local': no memory"):
        no_ray(error=RuntimeError("no memory"))


CONNECT = """
import ray
from spinesearch.search.workers.ray_cluster import connected
try:
    for _ in range(2):
        with connected("local", num_cpus=1):
            print(ray.get(ray.remote(num_cpus=0)(lambda: "it runs").remote()))
except ValueError as error:
    print(error)
"""


@pytest.mark.slow  # a Ray of its own per case
@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({}, "it runs"),
        ({"HOME": "{none}"}, "it runs"),
        ({"HOME": "/proc"}, "it runs"),
        ({"RAY_TMPDIR": "/tmp/" + 80 * "x"}, "RAY_TMPDIR: /tmp/xx"),
        ({"TMPDIR": "/proc"}, "RAY_TMPDIR: Ray cannot use /proc/ray (from TMPDIR)"),
    ],
)
def test_a_real_ray_of_our_own_for_a_user_without_a_name_and_a_home(
    environment: dict[str, str], line: str, tmp_path: Path
):
    """As in a container started with another user's number: no entry in passwd, nowhere to write."""
    nobody = ["unshare", "--user", "--map-user=12345", "--map-group=12345"]
    if not shutil.which("unshare") or subprocess.run([*nobody, "true"], capture_output=True).returncode:
        pytest.skip("needs unshare, and the right to make a user namespace")
    none = tmp_path / "none"
    environment = {name: value.format(none=none) for name, value in environment.items()}
    result = subprocess.run(
        [*nobody, sys.executable, "-c", CONNECT],
        env={"PATH": os.environ["PATH"], "RAY_worker_niceness": "0", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert result.stdout.startswith(line), result.stderr
    assert result.stdout.count("\n") == (2 if line == "it runs" else 1)
    assert not none.exists()
    shutil.rmtree("/tmp/" + 80 * "x", ignore_errors=True)
