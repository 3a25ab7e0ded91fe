"""A run's mirror: whatever is torn, cut or lost, another machine resumes from all that is there."""

import importlib.util
import random
import shutil
import threading
from pathlib import Path

import fsspec
import pytest
from fake_scorer import FakeScorer
from fake_search import Warnings, carry_out
from faulty_storage import FaultyFileSystem, bytes_of, empty_storage, pull

from spinesearch.results.ledger.ledger import LEDGER_NAME, Ledger, LedgerError, read_ledger
from spinesearch.results.ledger.lines import encode_event
from spinesearch.results.ledger.run import Run
from spinesearch.search.runs.mirror import Mirror, MirrorError
from spinesearch.search.scoring.scorer import EngineError
from spinesearch.search.watchers.mirror_observer import MirrorObserver

EVENTS = [{"event": "x", "number": i, "text": "x" * (i * 7 % 40)} for i in range(60)]


@pytest.fixture(autouse=True)
def storage():
    empty_storage()


@pytest.fixture(params=["file", "memory"])
def url(request, tmp_path: Path) -> str:
    return f"file://{tmp_path}/mirror of runs" if request.param == "file" else "memory://bucket/runs"


def in_mirror(url: str, folder: str) -> list[str]:
    files, root = fsspec.url_to_fs(f"{url}/run/{folder}")
    return sorted(path.rpartition("/")[2] for path in files.ls(root, detail=False))


def test_another_machine_resumes_where_the_mirror_is(url: str, tmp_path: Path):
    """With the controller's states too, so that nothing is computed anew."""
    whole = carry_out(tmp_path / "whole", num_trials=40)
    carry_out(tmp_path / "a", num_trials=24, mirror=Mirror(url, "run"))
    assert Mirror(url, "run").read() == bytes_of(tmp_path / "a")
    assert len(in_mirror(url, "ledger")) >= 2
    assert in_mirror(url, "controller") == sorted(p.name for p in (tmp_path / "a" / "controller").iterdir())
    reported, scorer = Warnings(), FakeScorer()
    run, digest = carry_out(
        tmp_path / "b", num_trials=40, mirror=Mirror(url, "run"), scorer=scorer, observer=reported
    )
    (line,) = reported.messages
    assert line.startswith(f"{tmp_path / 'b'}: fetched ")
    assert line.endswith(f" events from {url}/run")
    assert digest == whole[1]
    assert [trial.reward for trial in run.trials] == [trial.reward for trial in whole[0].trials]
    assert min(scorer.submitted) >= 24, "a finished evaluation was repeated"
    assert bytes_of(tmp_path / "b").startswith(bytes_of(tmp_path / "a"))
    assert Mirror(url, "run").read() == bytes_of(tmp_path / "b")
    # The first machine comes back, and takes over what the second did.
    carry_out(tmp_path / "a", num_trials=40, mirror=Mirror(url, "run"))
    assert bytes_of(tmp_path / "a").startswith(bytes_of(tmp_path / "b"))


def test_the_longer_one_wins_wherever_the_two_were_cut(tmp_path: Path):
    """Folder and mirror cut at random bytes, the mirror in random parts, some of them torn."""
    lines = [encode_event(i, event) for i, event in enumerate(EVENTS)]
    whole = b"".join(lines)
    rng = random.Random(3)
    store = fsspec.filesystem("memory")
    for case in range(150):
        num_bytes = rng.randint(0, len(whole)) if case % 5 else len(whole)
        end, standing = 0, 0
        while standing < num_bytes:
            end = rng.randint(standing + 1, num_bytes)
            store.pipe_file(f"/b/{case}/ledger/{standing:012d}.jsonl", whole[standing:end])
            whole_lines = whole[: whole.rfind(b"\n", 0, end) + 1]
            if len(whole_lines) == standing and end == num_bytes:
                break
            standing = len(whole_lines)
        run_dir = tmp_path / str(case)
        run_dir.mkdir()
        (run_dir / LEDGER_NAME).write_bytes(whole[: rng.randint(0, len(whole))])
        ours = read_ledger(run_dir / LEDGER_NAME).events
        mirror = Mirror("memory://b", str(case))
        theirs = mirror.read()
        assert theirs == whole[: whole.rfind(b"\n", 0, num_bytes) + 1]
        pull(mirror, run_dir)
        longer = max(len(ours), theirs.count(b"\n"))
        assert bytes_of(run_dir) == b"".join(lines[:longer])
        mirror.push(run_dir, len(bytes_of(run_dir)))
        assert Mirror("memory://b", str(case)).read() == bytes_of(run_dir)
        shutil.rmtree(run_dir)


def test_a_mirror_that_went_another_way_is_refused(url: str, tmp_path: Path):
    for name, number in (("a", 5), ("b", 7)):
        with Ledger(tmp_path / name) as ledger:
            ledger.append(EVENTS[:3])
            ledger.append([{"event": name}] * number)
    mirror = Mirror(url, "run")
    mirror.push(tmp_path / "a", len(bytes_of(tmp_path / "a")))
    before = bytes_of(tmp_path / "b")
    with pytest.raises(MirrorError) as caught:
        pull(Mirror(url, "run"), tmp_path / "b")
    assert (
        "went different ways: they share the first 3 events, then the folder has 10 in all and the mirror 8; "
        "move one of the two away, or resume from the folder alone by mirror=null" in str(caught.value)
    )
    assert "\n" not in str(caught.value)
    assert bytes_of(tmp_path / "b") == before


def test_a_damaged_or_missing_part_is_refused_and_named(url: str, tmp_path: Path):
    mirror = Mirror(url, "run")
    with Ledger(tmp_path / "a") as ledger:
        for event in EVENTS[:6]:
            ledger.append([event])
            mirror.push(tmp_path / "a", ledger.num_bytes)
    files, root = fsspec.url_to_fs(f"{url}/run/ledger")
    second = f"{root}/{in_mirror(url, 'ledger')[1]}"
    data = files.cat_file(second)
    files.pipe_file(second, data.replace(b"number", b"numbez"))
    with pytest.raises(LedgerError, match="line 2 is damaged: its checksum does not match"):
        pull(Mirror(url, "run"), tmp_path / "b")
    files.rm_file(second)
    with pytest.raises(MirrorError, match=r"bytes \d+ to \d+ of its ledger are missing"):
        Mirror(url, "run").read()


def test_of_two_heads_on_one_mirror_the_one_that_comes_second_stops(url: str, tmp_path: Path):
    carry_out(tmp_path / "a", num_trials=8, mirror=Mirror(url, "run"))
    first, second = Mirror(url, "run"), Mirror(url, "run")
    pull(first, tmp_path / "a")
    pull(second, tmp_path / "b")
    for mirror, name in ((second, "b"), (first, "a")):
        with Ledger(tmp_path / name) as ledger:
            ledger.append([{"event": "run", "host": name}])
            if mirror is second:
                mirror.push(tmp_path / name, ledger.num_bytes)
            else:
                with pytest.raises(MirrorError, match="another head has resumed this run"):
                    mirror.push(tmp_path / name, ledger.num_bytes)
    assert Mirror(url, "run").read() == bytes_of(tmp_path / "b")


def test_a_search_ends_when_another_head_resumes_it(tmp_path: Path):
    """The other begins while this one is away from the storage; both have the folder of their own."""
    url = "faulty://bucket"
    writer = threading.get_ident()

    def fault(path: str, data: bytes) -> None:
        if threading.get_ident() != writer:
            raise ConnectionError("the network is away")

    FaultyFileSystem.fault = fault
    other = Mirror(url, "run")

    class Other(Warnings):
        def recorded(self, event, run) -> None:
            if event["event"] == "update" and event["update"] == 2:
                with Ledger(tmp_path / "b") as ledger:
                    ledger.append([{"event": "run", "config": {}, "time": 0.0}])
                    other.push(tmp_path / "b", ledger.num_bytes)
                FaultyFileSystem.fault = None

    watching = Other()
    with pytest.raises(EngineError, match="another head has resumed this run"):
        carry_out(
            tmp_path / "a",
            num_trials=4000,
            mirror=Mirror(url, "run"),
            scorer=FakeScorer(delay_s=0.002),
            observer=watching,
        )
    assert "ConnectionError: the network is away" in watching.messages[0]
    assert Mirror(url, "run").read() == bytes_of(tmp_path / "b")


def test_being_overtaken_is_reported_even_if_it_is_noticed_last(tmp_path: Path):
    other = Mirror("faulty://bucket", "run")

    def fault(path: str, data: bytes) -> None:
        FaultyFileSystem.fault = None
        with Ledger(tmp_path / "b") as ledger:
            ledger.append([{"event": "run", "config": {}, "time": 0.0}])
            other.push(tmp_path / "b", ledger.num_bytes)

    watching = Warnings()
    with Ledger(tmp_path / "a") as ledger:
        ledger.append([{"event": "run", "config": {}, "time": 1.0}])
        observer = MirrorObserver(Mirror("faulty://bucket", "run"), tmp_path / "a", ledger, watching.warned)
        FaultyFileSystem.fault = fault
        observer.started(Run(), 0)
        observer.ended()
    assert "another head has resumed this run" in watching.messages[0]


def test_exports_take_the_place_of_earlier_ones(url: str, tmp_path: Path):
    folder = tmp_path / "run" / "export"
    folder.mkdir(parents=True)
    mirror = Mirror(url, "run")
    for names in (("01_a.json", "02_b.json"), ("01_b.json",)):
        shutil.rmtree(folder)
        folder.mkdir()
        for name in names:
            (folder / name).write_text(name)
        mirror.push_exports(tmp_path / "run")
        assert in_mirror(url, "export") == list(names)


@pytest.mark.parametrize("url", ["runs", "/mnt/runs", "nope://bucket", "s3://"])
def test_what_is_no_url_of_storage_is_refused(url: str):
    with pytest.raises(MirrorError, match="mirror: "):
        Mirror(url, "run")


def test_storage_that_is_asked_at_once_and_not_there_is_named():
    with pytest.raises(MirrorError, match=r"mirror: 'ftp://127.0.0.1:1/runs' cannot be used: .*refused"):
        Mirror("ftp://127.0.0.1:1/runs", "run")


def test_a_password_is_neither_taken_nor_printed():
    with pytest.raises(MirrorError, match="has a password in it") as caught:
        Mirror("sftp://user:secret@host/runs", "run")
    assert "secret" not in str(caught.value)


def test_a_missing_package_is_named():
    if importlib.util.find_spec("s3fs"):
        pytest.skip("s3fs is installed, so that nothing is missing")
    with pytest.raises(MirrorError, match="mirror: 's3://bucket' cannot be used: Install s3fs"):
        Mirror("s3://bucket", "run")
