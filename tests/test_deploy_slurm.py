"""deploy/slurm.sbatch, run with stand-ins for Slurm, Ray and the search."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deploy_checks import parsed

SLURM = Path(__file__).parents[1] / "deploy" / "slurm.sbatch"

# Each notes its name and arguments in a line, in one write: others write too. srun's steps last until ended.
FAKE = """#!/bin/bash
call=$(mktemp "$CALLS.XXXXXX")
{ printf '%s\\0' "$(basename "$0")" "$@"; printf '\\n'; } > "$call"
cat "$call" >> "$CALLS"
rm "$call"
"""
FAKES = {
    "srun": "trap 'exit 143' TERM\nwhile :; do sleep 0.05; done\n",
    "scontrol": '[[ $1 == show ]] && printf "node1\\nnode2\\nnode3\\n"; true\n',
    "ray": "",
}


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Any]:
    """Starts the script with a fake Slurm, Ray and search; gives the process and what was called."""
    bin_dir = tmp_path / "venv" / "bin"
    bin_dir.mkdir(parents=True)
    calls = tmp_path / "calls"
    calls.touch()
    started: list[subprocess.Popen[bytes]] = []

    def called() -> list[list[str]]:
        return [line.split("\0")[:-1] for line in calls.read_text().split("\n") if line]

    def start(search: str, num_nodes: int = 3) -> Any:
        for name, body in (FAKES | {"spinesearch": search}).items():
            (bin_dir / name).write_text(FAKE + body)
            (bin_dir / name).chmod(0o755)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "USER": "somebody",
            "VENV": str(bin_dir.parent),
            "SHARED": "/shared",
            "CALLS": str(calls),
            "SLURM_JOB_ID": "123456",
            "SLURM_JOB_NAME": "spinesearch",
            "SLURM_JOB_NODELIST": "node[1-3]",
            "SLURM_JOB_NUM_NODES": str(num_nodes),
            "SLURM_CPUS_PER_TASK": "16",
        }
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(["bash", SLURM], env=environment, start_new_session=True, stdout=log)
        started.append(process)
        return process, called

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for_search(called: Any) -> None:
    end = time.monotonic() + 20
    while not any(call[0] == "spinesearch" for call in called()):
        assert time.monotonic() < end
        time.sleep(0.02)
    time.sleep(0.2)  # until it waits for signals


# Once both steps of srun are noted: a search is not over before its cluster is up.
COMPLETES = """steps=$((SLURM_JOB_NUM_NODES > 1 ? 2 : 1))
until [[ $(grep -ac '^srun' "$CALLS") == "$steps" ]]; do sleep 0.05; done
"""
ENDS_AT_SIGTERM = "trap 'exit 130' TERM\nwhile :; do sleep 0.05; done\n"


def test_the_slurm_script_is_bash_and_asks_to_be_requeued():
    assert subprocess.run(["bash", "-n", SLURM], check=False).returncode == 0
    text = SLURM.read_text(encoding="utf-8")
    options = re.findall(r"^#SBATCH (--[a-z-]+)", text, re.MULTILINE)
    assert {"--requeue", "--no-kill", "--signal", "--open-mode"} <= set(options)
    assert text.index("#SBATCH") < text.index("\nset -u")  # Slurm reads none after the first command


def test_the_slurm_script_starts_a_head_its_workers_and_the_search(slurm, capsys):
    process, called = slurm(COMPLETES)
    assert process.wait(timeout=30) == 0
    calls = called()
    head, workers = [call for call in calls if call[0] == "srun"]
    assert "--nodelist=node1" in head
    assert head[head.index("ray") :][:3] == ["ray", "start", "--head"]
    assert {"--nodes=2", "--ntasks=2", "--exclude=node1"} <= set(workers)
    address = "node1:23456"
    assert f"--address={address}" in workers
    assert "--port=23456" in head
    assert {"--block", "--num-cpus=16"} <= set(head) & set(workers)
    assert ["ray", "health-check", "--address", address] in calls
    (command,) = [call for call in calls if call[0] == "spinesearch"]
    config = parsed(command, capsys)
    assert config.search.ray_address == address
    assert config.runs_dir == "/shared/runs"


def test_the_slurm_script_on_one_node_has_no_other_workers(slurm):
    process, called = slurm(COMPLETES, num_nodes=1)
    assert process.wait(timeout=30) == 0
    assert len([call for call in called() if call[0] == "srun"]) == 1


def test_near_its_time_limit_the_slurm_job_stops_the_search_and_is_requeued(slurm):
    process, called = slurm(ENDS_AT_SIGTERM)
    wait_for_search(called)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=30) == 130
    assert ["scontrol", "requeue", "123456"] in called()


def test_a_cancelled_slurm_job_stops_the_search_and_stays_away(slurm):
    process, called = slurm(ENDS_AT_SIGTERM)
    wait_for_search(called)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 130
    assert not any("requeue" in call for call in called())


@pytest.mark.parametrize("code", [1, 2])
def test_a_search_that_ends_in_an_error_is_not_requeued(slurm, code: int):
    process, called = slurm(f"exit {code}\n")
    assert process.wait(timeout=30) == code
    assert not any("requeue" in call for call in called())


def test_a_search_whose_candidates_fail_is_a_finished_slurm_job_with_the_reason_in_its_log(slurm, tmp_path):
    process, called = slurm(COMPLETES + "echo 8 of the last 8 candidates failed\nexit 3\n")
    assert process.wait(timeout=30) == 0
    *_, reason, last = (tmp_path / "log").read_text().splitlines()
    assert reason == "8 of the last 8 candidates failed"
    assert "too many candidates failed, or all were too slow, for the reasons above" in last
    assert not any("requeue" in call for call in called())
