import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spinesearch.results.ledger.ledger import LEDGER_NAME, Ledger, LedgerError, read_ledger
from spinesearch.results.ledger.lines import encode_event
from spinesearch.results.ledger.run import Run, load_run

EVENTS = [
    {"event": "run", "config": {}, "time": 0.0},
    *(
        {
            "event": "propose",
            "trial": i,
            "generation": 0,
            "tokens": [i, 1],
            "log_prob": -0.1,
            "arch_id": f"{i}",
        }
        for i in range(4)
    ),
    {
        "event": "result",
        "trial": 2,
        "status": "completed",
        "reward": 0.1,
        "metrics": {"ap": 0.1},
        "time": 1.0,
    },
    {"event": "result", "trial": 0, "status": "failed", "reward": 0.0, "reason": "nan", "time": 2.0},
]


def append_one_by_one(run_dir: Path, events: list[dict]) -> None:
    with Ledger(run_dir) as ledger:
        for event in events:
            ledger.append([event])


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    with Ledger(tmp_path) as ledger:
        ledger.append(EVENTS[:3])
        ledger.append(EVENTS[3:])
    return tmp_path


def test_what_is_written_is_read_back(run_dir: Path):
    contents = read_ledger(run_dir / LEDGER_NAME)
    assert list(contents.events) == EVENTS
    assert contents.torn == ""
    rows = [json.loads(line) for line in (run_dir / LEDGER_NAME).read_text().splitlines()]
    assert [row["seq"] for row in rows] == list(range(len(EVENTS)))  # plain JSON lines, for any tool
    assert [row["append"] for row in rows] == [[0, 3], [1, 3], [2, 3], [0, 4], [1, 4], [2, 4], [3, 4]]


def test_floats_survive_to_the_last_bit(tmp_path: Path):
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0]
    with Ledger(tmp_path) as ledger:
        ledger.append([{"event": "x", "values": values}])
    read = read_ledger(tmp_path / LEDGER_NAME).events[0]["values"]
    assert list(map(repr, read)) == list(map(repr, values))


def test_a_torn_last_line_is_dropped_and_said(tmp_path: Path):
    """At every length of the last line, with and without the damage that a power cut leaves."""
    run_dir = tmp_path
    append_one_by_one(run_dir, EVENTS)
    path = run_dir / LEDGER_NAME
    data = path.read_bytes()
    last = data.rindex(b"\n", 0, -1) + 1
    for cut in range(last + 1, len(data)):
        for tail in (data[last:cut], b"\0" * (cut - last)):
            path.write_bytes(data[:last] + tail)
            contents = read_ledger(path)
            assert list(contents.events) == EVENTS[:-1]
            assert f"dropped the torn last line ({cut - last} bytes" in contents.torn
    # A reader leaves the file alone, the next writer cuts it.
    assert path.stat().st_size == len(data) - 1
    with Ledger(run_dir) as ledger:
        assert ledger.contents.torn
        ledger.append([EVENTS[-1]])
    assert path.read_bytes() == data


@pytest.mark.parametrize("line", range(len(EVENTS) - 1))
def test_damage_in_the_middle_is_refused_and_named(tmp_path: Path, line: int):
    """Every line was on disk before the next was written; as in ledgers of earlier releases."""
    run_dir = tmp_path
    append_one_by_one(run_dir, EVENTS)
    path = run_dir / LEDGER_NAME
    lines = path.read_bytes().splitlines(keepends=True)
    for damaged in (
        lines[line].replace(b"event", b"evemt", 1),  # one letter
        b"\n",
        b"not json\n",
        lines[line][: len(lines[line]) // 2] + b"\n",
    ):
        path.write_bytes(b"".join([*lines[:line], damaged, *lines[line + 1 :]]))
        with pytest.raises(LedgerError, match=rf"{path}: line {line + 1} is damaged: .*") as caught:
            read_ledger(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(b"".join([*lines[:line], *lines[line + 1 :]]))  # a line is missing
    if line + 2 < len(lines):
        with pytest.raises(LedgerError, match=rf"line {line + 1} is damaged: a line is missing before it"):
            read_ledger(path)


def with_zeros(data: bytes, begin: int, end: int) -> bytes:
    return data[:begin] + b"\0" * (end - begin) + data[end:]


def test_a_power_cut_in_one_append_of_many_lines_tears_that_append_alone(tmp_path: Path):
    """Cut anywhere in it, or not, with ranges of zeros anywhere in what is there: 400 random cases."""
    appends = [EVENTS[:3], [EVENTS[3]], [{"event": "x", "text": "x" * (7 * i % 60)} for i in range(20)]]
    with Ledger(tmp_path) as ledger:
        for events in appends:
            begin = ledger.num_bytes
            ledger.append(events)
    path = tmp_path / LEDGER_NAME
    whole = path.read_bytes()
    rng = random.Random(0)
    all_events = [event for events in appends for event in events]
    num_in_the_middle = 0
    for case in range(400):
        data = whole[: rng.choice([len(whole), rng.randrange(begin + 1, len(whole))])]
        for _ in range(rng.randint(0 if len(data) < len(whole) else 1, 2)):
            first = rng.randrange(begin, len(data))
            data = with_zeros(data, first, min(len(data), first + rng.choice([1, 30, 300, 900])))
        path.write_bytes(data)
        contents = read_ledger(path)
        kept = len(contents.events)
        assert list(contents.events) == all_events[:kept]
        assert kept >= 4
        assert whole[: contents.num_bytes] == data[: contents.num_bytes]
        assert bool(contents.torn) == (len(data) > contents.num_bytes)
        num_in_the_middle += "a torn last append" in contents.torn
        if case % 20 == 0:
            with Ledger(tmp_path) as ledger:  # and is written on
                ledger.append([{"event": "after"}, {"event": "after"}])
            assert [event["event"] for event in read_ledger(path).events[kept:]] == ["after", "after"]
    assert num_in_the_middle > 100


def test_damage_in_an_append_that_others_follow_is_refused_and_named(run_dir: Path):
    path = run_dir / LEDGER_NAME
    with Ledger(run_dir) as ledger:
        end = ledger.contents.num_bytes
        ledger.append([{"event": "x"}])
    data = path.read_bytes()
    fourth = data.index(b'{"seq":3')
    for tail in (b"", b"{", b"\0" * 30):  # whole, and with the beginning of another append
        for begin, line in ((10, 1), (fourth + 10, 4), (end - 30, 7)):
            path.write_bytes(with_zeros(data, begin, begin + 5) + tail)
            with pytest.raises(LedgerError, match=f"line {line} is damaged"):
                read_ledger(path)
    # A complete append was on disk when what follows it was begun.
    path.write_bytes(with_zeros(data[:end], fourth + 10, fourth + 15) + b"{")
    with pytest.raises(LedgerError, match="line 4 is damaged"):
        read_ledger(path)


def test_numbers_that_json_does_not_have_are_refused(run_dir: Path):
    before = (run_dir / LEDGER_NAME).read_bytes()
    with Ledger(run_dir) as ledger, pytest.raises(ValueError, match="JSON compliant"):
        ledger.append([EVENTS[0], {"event": "result", "reward": float("nan")}])
    assert (run_dir / LEDGER_NAME).read_bytes() == before


def test_one_writer_at_a_time_across_processes(run_dir: Path):
    code = "import sys, pathlib, spinesearch.results.ledger.ledger as l; l.Ledger(pathlib.Path(sys.argv[1]))"
    with Ledger(run_dir):
        other = subprocess.run([sys.executable, "-c", code, run_dir], capture_output=True, text=True)
        assert f"another process is writing to this run (process {os.getpid()} on " in other.stderr
    assert subprocess.run([sys.executable, "-c", code, run_dir]).returncode == 0


def test_a_full_disk_leaves_the_ledger_as_it_was(run_dir: Path, monkeypatch):
    """Half an event fits, then nothing: the half is removed, and the ledger continues when there is room."""
    before = (run_dir / LEDGER_NAME).read_bytes()
    real_write = os.write
    calls = []

    def write(file: int, data: bytes) -> int:
        calls.append(len(data))
        if len(calls) == 1:
            return real_write(file, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    with Ledger(run_dir) as ledger:
        monkeypatch.setattr("spinesearch.results.ledger.ledger.os.write", write)
        with pytest.raises(LedgerError, match="could not be written: No space left on device"):
            ledger.append(EVENTS[:2])
        assert (run_dir / LEDGER_NAME).read_bytes() == before
        monkeypatch.undo()
        ledger.append([{"event": "after"}])
    assert len(read_ledger(run_dir / LEDGER_NAME).events) == len(EVENTS) + 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    mount = shutil.which("mount") and subprocess.run(command, capture_output=True, text=True)
    if not mount or mount.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {mount.stderr.strip() if mount else 'no mount'}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_on_a_disk_that_is_really_full_nothing_is_lost_or_half_written(small_disk: Path):
    run_dir = small_disk / "run"
    with Ledger(run_dir) as ledger:
        ledger.append(EVENTS[:5])
        (small_disk / "other").write_bytes(b"x" * 30_000)
        written, message = 5, ""
        while not message:
            try:
                ledger.append([{"event": "x", "number": written, "text": "x" * 700}])
                written += 1
            except LedgerError as error:
                message = str(error)
        assert "could not be written: No space left on device" in message
        assert len(read_ledger(run_dir / LEDGER_NAME).events) == written
        assert not read_ledger(run_dir / LEDGER_NAME).torn
    # The lock and the lease need no new room: the next process begins, and continues when there is some.
    with Ledger(run_dir) as ledger:
        assert len(ledger.contents.events) == written
        with pytest.raises(LedgerError, match="make room and resume the run"):
            ledger.append([{"event": "x", "text": "x" * 8000}])
        (small_disk / "other").unlink()
        ledger.append([EVENTS[5]])
    assert read_ledger(run_dir / LEDGER_NAME).events[-1] == EVENTS[5]


def test_a_run_from_its_events(run_dir: Path):
    run, torn = load_run(run_dir)
    assert torn == ""
    assert [trial.status for trial in run.trials] == ["failed", "proposed", "completed", "proposed"]
    assert run.trials[2].metrics == {"ap": 0.1}
    assert run.trials[0].reason == "nan"
    assert run.num_done == 2


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (EVENTS[5], "line 8 does not fit: a result of trial 2, which has its result already"),
        ({**EVENTS[5], "trial": 9}, "line 8 does not fit: a result of trial 9, which was not proposed"),
        ({**EVENTS[4], "trial": 7}, "line 8 does not fit: trial 4 should be proposed next, got 7"),
        ({"event": "update", "update": 3, "stats": {}, "digest": ""}, "update 0 should be next, got 3"),
        ({"event": "dance"}, "an event of unknown kind 'dance'"),
        ({"event": "propose", "trial": 4}, "line 8 does not fit"),
    ],
)
def test_events_that_contradict_each_other_are_refused(event, message, run_dir: Path):
    with (run_dir / LEDGER_NAME).open("ab") as file:
        file.write(encode_event(len(EVENTS), event))
    with pytest.raises(LedgerError, match=message):
        load_run(run_dir)


def test_folders_that_are_no_run(tmp_path: Path):
    with pytest.raises(LedgerError, match="is not a run: there is no such folder"):
        load_run(tmp_path / "absent")
    with pytest.raises(LedgerError, match=f"is not a run: it has no {LEDGER_NAME}"):
        load_run(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="is not a run"):
        load_run(tmp_path / "file")
    (tmp_path / LEDGER_NAME).touch()
    with pytest.raises(LedgerError, match="its ledger is empty"):
        load_run(tmp_path)


def test_a_run_begins_with_a_run_event():
    with pytest.raises(LedgerError, match="line 1 does not fit: a run begins with a run event"):
        Run.from_events(Path("x"), [EVENTS[1]])
