"""The faults of chaos.py: what happens to a search and what it may do about it."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from chaos_run import DisturbedRun, NotSurvivedError

_LONGEST_JUMP_S = 30 * 86400.0
_IN_USE = "another process is writing to this run"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """A kind of fault.

    Attributes:
        what: happens, for people.
        inflict: makes it happen to a run.
    """

    what: str
    inflict: Callable[[DisturbedRun], None]


def _kill_driver(run: DisturbedRun) -> None:
    """At once, and in half of the cases the next one too, at any instant of its first second."""
    run.kill_driver()
    if run.rng.random() < 0.5:
        run.driver()
        time.sleep(run.rng.uniform(0, 1))
        run.kill_driver()


def _tear_ledger(run: DisturbedRun) -> None:
    """As a power cut does: its last line, or what the kill left of one, ends at a random byte."""
    run.kill_driver()
    if not run.ledger_path.exists():
        return
    data = run.ledger_path.read_bytes()
    if not data:
        return
    start = data[:-1].rfind(b"\n") + 1
    end = start + run.rng.randrange(len(data) - start)
    os.truncate(run.ledger_path, end)
    run.forget_last_line(start)


def _lose_state(run: DisturbedRun) -> None:
    """One of the controller's states is deleted or cut, or all are deleted."""
    run.kill_driver()
    folder = run.run_dir / "controller"
    states = sorted(folder.glob("update-*.pt"))
    if not states or run.rng.random() < 0.2:
        shutil.rmtree(folder, ignore_errors=True)
        return
    state = run.rng.choice(states)
    if run.rng.random() < 0.5:
        state.unlink()
    else:
        os.truncate(state, run.rng.randrange(state.stat().st_size))


def _kill_worker(run: DisturbedRun) -> None:
    _signal_worker(run, signal.SIGKILL)


def _freeze_worker(run: DisturbedRun) -> None:
    _signal_worker(run, signal.SIGSTOP)


def _signal_worker(run: DisturbedRun, number: signal.Signals) -> None:
    os.kill(run.rng.choice(run.busy_driver().workers()), number)


def _jump(run: DisturbedRun) -> None:
    run.circumstances.offset_s = run.rng.uniform(-_LONGEST_JUMP_S, _LONGEST_JUMP_S)


def _fill_disk(run: DisturbedRun) -> None:
    """Files cannot grow beyond the ledger's size and a bit: the next write ends in the middle of a line."""
    driver = run.busy_driver()
    size = run.ledger_path.stat().st_size + run.rng.randrange(300)
    _, hard = resource.prlimit(driver.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(driver.pid, resource.RLIMIT_FSIZE, (size, hard))
    run.ends_with(2, "ledger.jsonl: could not be written: File too large; what it holds is safe")


def _delete_folder(run: DisturbedRun) -> None:
    """With all that is in it, under a driver that was killed or that has to find out."""
    if run.rng.random() < 0.5:
        run.busy_driver()
        _remove(run)
        run.ends_with(2, "this process has lost the run: its lease file is gone")
    else:
        run.kill_driver()
    _remove(run)
    run.forget_folder()


def _remove(run: DisturbedRun) -> None:
    while run.run_dir.exists():  # a driver may be writing a file there
        shutil.rmtree(run.run_dir, ignore_errors=True)


def _mirror_leaves(run: DisturbedRun) -> None:
    run.mirror_leaves(run.rng.randint(1, 3))


def _second_driver(run: DisturbedRun) -> None:
    """The same command, given while it is carried out."""
    run.busy_driver()
    second = run.new_driver()
    ended = second.finish(60)
    reason = "mirror: " if run.is_mirror_away else _IN_USE  # the mirror is looked at first
    if ended is None or ended[0] != 2 or reason not in ended[1]:
        second.kill()
        raise NotSurvivedError(f"the second driver should have been refused, got {ended}")


FAULTS = (
    Fault(what="driver killed (SIGKILL)", inflict=_kill_driver),
    Fault(what="ledger's last line torn", inflict=_tear_ledger),
    Fault(what="controller's state deleted or cut", inflict=_lose_state),
    Fault(what="worker killed (SIGKILL)", inflict=_kill_worker),
    Fault(what="worker frozen (SIGSTOP)", inflict=_freeze_worker),
    Fault(what="wall clock set, by 30 days at most", inflict=_jump),
    Fault(what="disk full", inflict=_fill_disk),
    Fault(what="run's folder deleted", inflict=_delete_folder),
    Fault(what="mirror out of reach", inflict=_mirror_leaves),
    Fault(what="second driver", inflict=_second_driver),
)
