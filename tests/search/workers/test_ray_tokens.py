"""A real head that demands its token, and drivers with and without one."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray

TOKEN = "6f8c1c3e-58f4-4d41-9bd2-0f5c8e2f6a11"


def driver(address: str, home: Path, **environment: str) -> tuple[str, float]:
    """What our connection says in a process of its own, and how long it took."""
    script = (
        "import sys, time\n"
        "from spinesearch.search.workers.ray_cluster import connected\n"
        "started = time.monotonic()\n"
        "try:\n    with connected(sys.argv[1], num_cpus=None):\n        print('connected')\n"
        "except ValueError as error:\n    print(error)\n"
        "print(time.monotonic() - started)\n"
    )
    mine = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    result = subprocess.run(
        [sys.executable, "-c", script, address],
        env=mine | {"HOME": str(home)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    *lines, seconds = result.stdout.strip().splitlines()
    assert len(lines) == 1, result.stdout
    return lines[0], float(seconds)


@pytest.mark.slow
def test_a_real_head_that_demands_its_token(tmp_path_factory):
    home, other = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("other")
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text(TOKEN)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    address = f"127.0.0.1:{port}"
    mine = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    ray_command = Path(sys.executable).with_name("ray")
    command = [ray_command, "start", "--head", "--block", f"--port={port}", "--num-cpus=1"]
    command += ["--include-dashboard=false", f"--object-store-memory={80 * 1024**2}"]
    with (
        tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder,  # Ray's sockets need a short path
        subprocess.Popen(
            [*command, "--disable-usage-stats", f"--temp-dir={folder}"],
            env=mine | {"HOME": str(home)},  # no RAY_AUTH_MODE: the file is enough to turn it on
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process,
    ):
        try:
            end = time.monotonic() + 60
            line, _ = driver(address, home, RAY_AUTH_MODE="token")
            while line != "connected" and time.monotonic() < end:
                line, _ = driver(address, home, RAY_AUTH_MODE="token")
            assert line == "connected"
            for where, environment, message in (
                (other, {}, "there is none here"),
                (other, {"RAY_AUTH_MODE": "token"}, "there is none here"),
                (other, {"RAY_AUTH_MODE": "disabled"}, "there is none here"),
                (home, {}, "this process sends none; set RAY_AUTH_MODE=token"),
                (home, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN[::-1]}, "the one here is another"),
            ):
                line, seconds = driver(address, where, **environment)
                assert message in line
                assert seconds < 5
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
