"""Storage that fails under a mirror, at any moment and for any length of time."""

import random
import threading
from pathlib import Path

import fsspec
import pytest
from fake_search import Warnings, carry_out
from faulty_storage import FaultyFileSystem, bytes_of, empty_storage, ignore
from fsspec.implementations.memory import MemoryFileSystem

from spinesearch.results.ledger.ledger import Ledger
from spinesearch.search.runs.mirror import Mirror, MirrorError
from spinesearch.search.watchers import mirror_observer

EVENTS = [{"event": "x", "number": i, "text": "x" * (i * 7 % 40)} for i in range(60)]


@pytest.fixture(autouse=True)
def storage():
    empty_storage()


def test_whatever_goes_wrong_while_writing_a_reader_finds_the_beginning_of_the_ledger(tmp_path: Path):
    """Writes that fail before, in the middle of, and after they took place, and heads that begin anew."""
    rng = random.Random(11)
    num_failed = 0
    for case in range(50):
        name = str(case)

        def fault(path: str, data: bytes) -> None:
            kind = rng.randrange(6)
            if kind < 3:
                if kind:
                    part = data if kind == 1 else data[: rng.randrange(len(data))]
                    MemoryFileSystem.pipe_file(fsspec.filesystem("faulty"), path, part)
                raise ConnectionError("the network is away")

        FaultyFileSystem.fault = fault
        mirror = Mirror("faulty://b", name)
        with Ledger(tmp_path / name) as ledger:
            for event in EVENTS[:20]:
                ledger.append([event])
                try:
                    mirror.push(tmp_path / name, ledger.num_bytes)
                except ConnectionError:
                    num_failed += 1
                read = Mirror("faulty://b", name).read()
                assert bytes_of(tmp_path / name).startswith(read)
                assert not read or read.endswith(b"\n")
                if rng.randrange(5) == 0:  # another head, with the same folder
                    mirror = Mirror("faulty://b", name)
                    mirror.pull(ledger, mirror.read(), tmp_path / name, ignore)
            FaultyFileSystem.fault = None
            mirror.push(tmp_path / name, ledger.num_bytes)
        assert Mirror("faulty://b", name).read() == bytes_of(tmp_path / name)
    assert num_failed > 300


def test_storage_that_fails_is_reported_once_and_made_up_for(tmp_path: Path):
    expected = carry_out(tmp_path / "whole", num_trials=40)[1]

    class Away(Warnings):
        def recorded(self, event, run) -> None:
            if event["event"] == "update" and event["update"] == 6:
                FaultyFileSystem.fault = None

    def fault(path: str, data: bytes) -> None:
        raise ConnectionError("the network\nis away")

    FaultyFileSystem.fault = fault
    watching = Away()
    mirror = Mirror("faulty://bucket", "run")
    _, digest = carry_out(tmp_path / "run", num_trials=40, mirror=mirror, observer=watching)
    assert digest == expected
    assert watching.messages == [
        "mirror: faulty://bucket/run could not be written; it is tried again with what is new next: "
        "ConnectionError: the network is away"
    ]
    assert Mirror("faulty://bucket", "run").read() == bytes_of(tmp_path / "run")


def test_storage_that_stays_away_is_reported_again_at_the_end(tmp_path: Path):
    def fault(path: str, data: bytes) -> None:
        raise ConnectionError("the network is away")

    FaultyFileSystem.fault = fault
    watching = Warnings()
    carry_out(tmp_path / "run", num_trials=24, mirror=Mirror("faulty://gone", "run"), observer=watching)
    assert len(watching.messages) == 2
    where = f"its last results are only in {tmp_path / 'run'}"
    assert watching.messages[1] == f"mirror: faulty://gone/run could still not be written: {where}"


def test_storage_that_never_answers_holds_up_neither_the_search_nor_its_end(tmp_path: Path, monkeypatch):
    answer = threading.Event()
    FaultyFileSystem.fault = lambda path, data: answer.wait(30)  # type: ignore[assignment,return-value]
    monkeypatch.setattr(mirror_observer, "_LAST_S", 0.2)
    watching = Warnings()
    try:
        carry_out(tmp_path / "run", num_trials=24, mirror=Mirror("faulty://slow", "run"), observer=watching)
    finally:
        answer.set()
    assert watching.messages == [
        f"mirror: faulty://slow/run took too long: its last results are only in {tmp_path / 'run'}"
    ]


def test_storage_out_of_reach_at_the_start_begins_nothing(tmp_path: Path, monkeypatch):
    def ls(self, path, detail=True, **kwargs):
        raise PermissionError("Forbidden")

    monkeypatch.setattr(FaultyFileSystem, "ls", ls)
    with pytest.raises(MirrorError, match="cannot be read: PermissionError: Forbidden; nothing was started"):
        Mirror("faulty://bucket", "run").read()
