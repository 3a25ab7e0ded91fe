"""One writer per run: owners alive, dead, frozen or elsewhere, with and without the kernel's locks."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from spinesearch.results.ledger import lease, run_lock
from spinesearch.results.ledger.lease import LeaseFile, Owner, read_lease
from spinesearch.results.ledger.ledger import LEDGER_NAME, Ledger, read_ledger
from spinesearch.results.ledger.run_lock import LEASE_NAME, LOCK_NAME, RunInUseError, RunLock

# A process that holds a run and appends numbers until it may not, each printed when it is on disk. With
# `elsewhere` it takes itself to be on another machine, and file systems to have no locks.
WRITER = """
import errno, fcntl, pathlib, sys, time
from spinesearch.results.ledger import lease, run_lock
from spinesearch.results.ledger.ledger import Ledger
run_lock.HEARTBEAT_S = 0.05
run_lock.DEAD_AFTER_S = 0.6
if "elsewhere" in sys.argv:
    lease._kernel = lambda: "another kernel"
    def flock(file, how):
        raise OSError(errno.ENOLCK, "No locks available")
    fcntl.flock = flock
try:
    with Ledger(pathlib.Path(sys.argv[1])) as ledger:
        print("open", flush=True)
        for number in range(100_000):
            ledger.append([{"event": "x", "number": number}])
            print(number, flush=True)
            time.sleep(0.01)
except ValueError as error:
    print(error, flush=True)
"""


@pytest.fixture(autouse=True)
def short_times(monkeypatch):
    monkeypatch.setattr(run_lock, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(run_lock, "DEAD_AFTER_S", 0.6)
    monkeypatch.setattr(run_lock, "_SETTLE_S", 0.4)


@pytest.fixture
def no_locks(monkeypatch):
    def flock(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    processes = []

    def start_writer(*arguments: str | Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        return process

    yield start_writer
    for process in processes:
        process.kill()
        process.communicate()


def elsewhere(**changes: object) -> Owner:
    return replace(Owner.of_this_process(), kernel="another kernel", host="far", pid=77, **changes)


def read_until(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    while (read := process.stdout.readline()) != f"{line}\n":
        assert read, "it ended before"


def test_the_second_reads_who_has_it_and_since_when(tmp_path: Path):
    with Ledger(tmp_path):
        with pytest.raises(RunInUseError) as caught:
            Ledger(tmp_path)
        owner, _ = read_lease(tmp_path / LEASE_NAME)
        assert owner is not None
        assert str(caught.value) == (
            f"{tmp_path}: another process is writing to this run (process {os.getpid()} on {owner.host}, "
            f"since {owner.since}); stop it or wait for its end, then give the command again"
        )
    Ledger(tmp_path).close()


@pytest.fixture
def watched(monkeypatch) -> list[str]:
    """The owners whose heartbeat was waited for; the run is free at once where there is none."""
    owners: list[str] = []
    watch = RunLock._watch

    def recorded(lock: RunLock, owner: Owner, sign: str, seconds: float) -> None:
        owners.append(owner.host)
        watch(lock, owner, sign, seconds)

    monkeypatch.setattr(RunLock, "_watch", recorded)
    return owners


def test_a_killed_owner_is_followed_at_once_and_a_stopped_one_is_not(
    tmp_path: Path, start, watched: list[str]
):
    process = start(tmp_path)
    read_until(process, "3")
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    with pytest.raises(RunInUseError, match=f"process {process.pid} on "):
        Ledger(tmp_path)
    process.kill()  # and not waited for: a zombie is dead
    time.sleep(0.2)
    reported: list[str] = []
    with Ledger(tmp_path, report=reported.append) as ledger:
        assert len(ledger.contents.events) >= 4
    assert not reported
    assert not watched


def test_a_process_number_given_anew_is_not_the_owner(tmp_path: Path, watched: list[str]):
    LeaseFile(tmp_path / LEASE_NAME, replace(Owner.of_this_process(), started="1")).take()
    RunLock(tmp_path).release()
    assert not watched


@pytest.mark.parametrize("locks", ["locks", "no_locks"])
def test_an_owner_elsewhere_with_a_heartbeat_keeps_the_run(locks: str, tmp_path: Path, request):
    if locks == "no_locks":
        request.getfixturevalue("no_locks")
    far = LeaseFile(tmp_path / LEASE_NAME, elsewhere())
    far.take()
    stop = threading.Event()

    def beat() -> None:
        count = 0
        while not stop.wait(0.2):
            far.beat(count := count + 1)

    thread = threading.Thread(target=beat)
    thread.start()
    reported: list[str] = []
    try:
        with pytest.raises(RunInUseError, match="process 77 on far, since "):
            Ledger(tmp_path, report=reported.append)
    finally:
        stop.set()
        thread.join()
    assert len(reported) == 1
    assert "process 77 on far, since " in reported[0]
    assert "0.6 s" in reported[0]


def test_an_owner_elsewhere_without_a_heartbeat_is_followed(tmp_path: Path, monkeypatch):
    """Also when the wall clock jumps all the while."""
    with Ledger(tmp_path) as ledger:
        ledger.append([{"event": "x"}])
    inode = (tmp_path / LEDGER_NAME).stat().st_ino
    LeaseFile(tmp_path / LEASE_NAME, elsewhere(since="2099-01-01 00:00:00")).take()
    jumps = iter(range(10**9, 10**15, 10**9 + 7))
    monkeypatch.setattr(time, "time", lambda: float(next(jumps) * (-1) ** (next(jumps) % 2)))
    reported: list[str] = []
    begun = time.monotonic()
    with Ledger(tmp_path, report=reported.append) as ledger:
        assert time.monotonic() - begun >= 0.6
        assert len(reported) == 1
        ledger.append([{"event": "y"}])
    assert [event["event"] for event in read_ledger(tmp_path / LEDGER_NAME).events] == ["x", "y"]
    assert (tmp_path / LEDGER_NAME).stat().st_ino != inode


def test_a_lease_given_back_elsewhere_is_free_at_once(tmp_path: Path, watched: list[str]):
    far = LeaseFile(tmp_path / LEASE_NAME, elsewhere())
    far.take()
    far.release()
    RunLock(tmp_path).release()
    assert not watched


def test_a_lock_that_a_dead_machine_left_on_the_server_is_passed_by(tmp_path: Path):
    """Its kernel lock still holds; without a heartbeat the run is taken over all the same."""
    LeaseFile(tmp_path / LEASE_NAME, elsewhere()).take()
    with (tmp_path / LOCK_NAME).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with Ledger(tmp_path) as ledger:
            ledger.append([{"event": "x"}])
            with pytest.raises(RunInUseError, match=f"process {os.getpid()} on "):
                Ledger(tmp_path)


def test_a_lock_without_a_lease_is_respected(tmp_path: Path):
    with (tmp_path / LOCK_NAME).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RunInUseError, match=r"another process is writing to this run \(unknown\)"):
            Ledger(tmp_path)
    (tmp_path / LEASE_NAME).write_bytes(b"\0" * 300)  # what a power cut leaves
    Ledger(tmp_path).close()


def test_frozen_elsewhere_and_followed_it_stops_when_it_wakes(tmp_path: Path, start, no_locks):
    """All that was reported as on disk is kept; nothing of it comes after its follower's first line."""
    process = start(tmp_path, "elsewhere")
    read_until(process, "5")
    process.send_signal(signal.SIGSTOP)
    with Ledger(tmp_path) as ledger:
        before = len(ledger.contents.events)
        ledger.append([{"event": "followed"}])
        process.send_signal(signal.SIGCONT)
        output, _ = process.communicate(timeout=10)
        time.sleep(0.1)
        ledger.append([{"event": "followed"}])
    *numbers, last = output.splitlines()
    assert f"this process has lost the run: another process (process {os.getpid()} on " in last
    events = read_ledger(tmp_path / LEDGER_NAME).events
    assert [event["event"] for event in events] == ["x"] * before + ["followed"] * 2
    assert all(int(number) < before for number in numbers)


def test_without_locks_one_of_many_that_start_together_gets_the_run(tmp_path: Path, no_locks, monkeypatch):
    """Threads that each take themselves to be on a machine of their own."""
    monkeypatch.setattr(lease, "_kernel", lambda: threading.current_thread().name)
    won: list[Ledger] = []
    lost: list[str] = []
    barrier = threading.Barrier(6)

    def begin() -> None:
        barrier.wait()
        try:
            won.append(Ledger(tmp_path))
        except RunInUseError as error:
            lost.append(str(error))

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(lost) == 5
    won[0].append([{"event": "x"}])
    won[0].close()
