"""Our searcher in a real Tuner, also one that is killed."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
import torch
import tune_driver
from fake_tune import FakeTune

from spinesearch.search.loop.checkpoint import state_digest
from spinesearch.space import ArchSpec

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment(cluster) -> dict[str, str]:
    """What a process of its own needs to use the tests' Ray."""
    paths = [str(ROOT / "tests" / "support"), str(ROOT / "src")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "0.2",
    }


def started(folder: Path) -> list[str]:
    """The candidates that trials were started for, in order of their start, with their networks."""
    files = sorted(folder.glob("start-*"), key=lambda path: int(path.name.split("-")[3]))
    return ["-".join(path.name.split("-")[1:3]) for path in files]


def kill_between_copies(driver: subprocess.Popen[bytes], experiment: Path) -> None:
    """Kill a driver while none of its snapshot's files is being copied, which Tune would begin anew from."""
    for _ in range(200):
        driver.send_signal(signal.SIGSTOP)
        if all(path.stat().st_size for path in experiment.glob("*state-*")):
            break
        driver.send_signal(signal.SIGCONT)
        time.sleep(0.05)
    driver.kill()
    driver.wait()


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("num_starts", [1, 6])
def test_a_killed_tuner_resumes_where_it_was(environment, tmp_path: Path, num_starts: int):
    command = [sys.executable, tune_driver.__file__, str(tmp_path), "2"]
    log = tmp_path / "log"
    with log.open("wb") as output:
        driver = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            end = time.monotonic() + 600
            while len(started(tmp_path)) < num_starts:
                assert driver.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.01)
            kill_between_copies(driver, tmp_path / "experiment")
        finally:
            driver.kill()
            driver.wait()
    before = started(tmp_path)
    again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    # Failed trials are no failure of the script: a Tuner keeps them in its results.
    assert again.returncode == 0, again.stderr
    assert "Restarting experiment" not in again.stderr

    searcher = tune_driver.build_searcher()
    whole = FakeTune(searcher)
    whole.run()
    expected = {f"{config['candidate']}-{config['arch_id']}" for config in whole.configs}
    assert set(started(tmp_path)) == expected
    # Twice: what was running, and what was started after the snapshot, a fifth of a second or so.
    assert len(started(tmp_path)) - len(expected) <= min(len(before), 5)
    newest = max((tmp_path / "experiment").glob("searcher-state-*.pkl"))
    state = torch.load(newest, weights_only=True)
    assert state_digest(state["controller"]) == state_digest(searcher._generations.state_dict()["controller"])


@pytest.mark.slow
def test_the_example_of_the_page_runs(environment, tmp_path: Path):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "tune.md").read_text(), re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text(code)
    result = subprocess.run(
        [sys.executable, str(script)], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    best = ArchSpec.from_json((tmp_path / "best.json").read_text())
    assert best.arch_id in result.stdout
