"""A run that is lost to another writer, at the narrowest places: it writes to no file of the run."""

import os
from pathlib import Path

import pytest

from spinesearch.results.ledger import lease, run_lock
from spinesearch.results.ledger import ledger as ledger_module
from spinesearch.results.ledger.lease import read_lease
from spinesearch.results.ledger.ledger import LEDGER_NAME, Ledger, read_ledger
from spinesearch.results.ledger.run_lock import LEASE_NAME, RunInUseError


def test_frozen_between_looking_and_writing_it_writes_to_no_file_of_the_run(tmp_path: Path, monkeypatch):
    """The narrowest place: the follower comes after the first look at the lease and before the write."""
    real_write = os.write
    followers: list[Ledger] = []

    def write(file: int, data: bytes) -> int:
        monkeypatch.undo()
        with monkeypatch.context() as patch:
            patch.setattr(run_lock, "DEAD_AFTER_S", 0.1)
            patch.setattr(run_lock, "_SETTLE_S", 0.1)
            patch.setattr(lease, "_kernel", lambda: "another kernel")
            followers.append(Ledger(tmp_path))
        followers[0].append([{"event": "followed"}])
        return real_write(file, data)

    monkeypatch.setattr(run_lock, "HEARTBEAT_S", 100.0)
    frozen = Ledger(tmp_path)
    frozen.append([{"event": "x"}])
    monkeypatch.setattr(ledger_module.os, "write", write)
    with pytest.raises(RunInUseError, match="this process has lost the run"):
        frozen.append([{"event": "late"}])
    frozen.close()
    followers[0].append([{"event": "followed"}])
    followers[0].close()
    events = [event["event"] for event in read_ledger(tmp_path / LEDGER_NAME).events]
    assert events == ["x", "followed", "followed"]
    assert read_lease(tmp_path / LEASE_NAME)[0] is None  # the one that lost it did not keep its follower's


def test_frozen_while_it_takes_over_it_puts_no_old_lines_in_the_place_of_new_ones(tmp_path, monkeypatch):
    """It has read the ledger to write it anew, and another one takes over and writes before it has."""
    for name, value in (("HEARTBEAT_S", 100.0), ("DEAD_AFTER_S", 0.1), ("_SETTLE_S", 0.1)):
        monkeypatch.setattr(run_lock, name, value)
    dead = Ledger(tmp_path)
    dead.append([{"event": "x"}])
    followers: list[Ledger] = []
    real_fsync = os.fsync

    def fsync(file: int) -> None:
        real_fsync(file)
        monkeypatch.setattr(ledger_module.os, "fsync", real_fsync)
        monkeypatch.setattr(lease, "_kernel", lambda: "a third kernel")
        followers.append(Ledger(tmp_path))
        followers[0].append([{"event": "followed"}])

    monkeypatch.setattr(lease, "_kernel", lambda: "another kernel")
    monkeypatch.setattr(ledger_module.os, "fsync", fsync)
    with pytest.raises(RunInUseError, match="this process has lost the run"):
        Ledger(tmp_path)
    followers[0].append([{"event": "followed"}])
    followers[0].close()
    events = [event["event"] for event in read_ledger(tmp_path / LEDGER_NAME).events]
    assert events == ["x", "followed", "followed"]


def test_nothing_is_written_to_a_ledger_that_was_replaced(tmp_path: Path):
    with Ledger(tmp_path) as ledger:
        ledger.append([{"event": "x"}])
        copy = tmp_path / "copy"
        copy.write_bytes((tmp_path / LEDGER_NAME).read_bytes())
        os.replace(copy, tmp_path / LEDGER_NAME)
        with pytest.raises(RunInUseError, match="replaced the file; this process stops here"):
            ledger.append([{"event": "lost"}])
        (tmp_path / LEDGER_NAME).unlink()
        with pytest.raises(RunInUseError, match="replaced the file"):
            ledger.check()


def test_a_folder_that_is_removed_stops_its_writer(tmp_path: Path):
    ledger = Ledger(tmp_path)
    (tmp_path / LEASE_NAME).unlink()
    with pytest.raises(RunInUseError, match="its lease file is gone"):
        ledger.append([{"event": "x"}])
    ledger.close()
