"""Packs and drawn data sets with real processes: killed, interrupted, asking at once, sharing pages."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from long_suite import few, few_rows

from spinesearch.data.drawn.generate import generate_dataset
from spinesearch.data.pack.pack import open_pack
from spinesearch.data.pack.pack_build import PackSource
from spinesearch.data.pack.storage import JpegStorage, RawStorage, Storage

# Builds a data set or a pack and says so after each step, slowly enough to be hit in between.
BUILDER = """
import sys, time
from pathlib import Path
from spinesearch.data.drawn.generate import generate_dataset
from spinesearch.data.pack.pack import open_pack
from spinesearch.data.pack.pack_build import PackSource
from spinesearch.data.pack.storage import JpegStorage, RawStorage

def progress(done, total):
    print(done, flush=True)
    time.sleep(0.05)

def report(line):
    print("report", line, flush=True)

what, cache_dir = sys.argv[1], Path(sys.argv[2])
if what == "generate":
    generate_dataset(cache_dir, num_images=20, num_val_images=5, seed=0, progress=progress)
else:
    root = Path(sys.argv[3])
    source = PackSource(
        images_dir=root / "train", annotations_path=root / "annotations/instances_train.json",
        image_size=64, storage=JpegStorage(90) if what == "jpeg" else RawStorage(),
    )
    open_pack(source, cache_dir, progress=progress, report=report)
print("end", flush=True)
"""
STORAGES: dict[str, Storage] = {"raw": RawStorage(), "jpeg": JpegStorage(90)}


def start_builder(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stop_after(steps: int, stop: signal.Signals, *arguments: str | Path) -> str:
    """A signal to a builder that has said it is `steps` steps along; its errors."""
    with start_builder(*arguments) as process:
        assert process.stdout is not None
        while steps:
            line = process.stdout.readline().strip()
            assert line not in ("", "end")
            steps -= not line.startswith("report")
        process.send_signal(stop)
        errors = process.communicate(timeout=30)[1]
    assert process.returncode != 0
    return errors


def left_in(cache_dir: Path) -> list[Path]:
    return [path for path in (cache_dir / "packs").iterdir() if path.suffix != ".lock"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """A generated data set of 200 images: thirteen steps of a pack."""
    return generate_dataset(tmp_path_factory.mktemp("drawn"), num_images=200, num_val_images=0, seed=0)


def source_of(drawn: Path, storage: str = "raw") -> PackSource:
    return PackSource(
        images_dir=drawn / "train",
        annotations_path=drawn / "annotations" / "instances_train.json",
        image_size=64,
        storage=STORAGES[storage],
    )


@pytest.mark.parametrize(("storage", "steps"), few_rows([("raw", 1), ("raw", 12), ("jpeg", 6)], ["jpeg"]))
def test_a_pack_whose_builder_was_killed_is_built_again(
    drawn: Path, tmp_path: Path, storage: str, steps: int
) -> None:
    source = source_of(drawn, storage)
    every = np.arange(200)
    expected = open_pack(source, tmp_path / "whole").images.images[every]
    stop_after(steps, signal.SIGKILL, storage, tmp_path / "killed", drawn)
    (partial,) = left_in(tmp_path / "killed")
    assert partial.suffix == ".partial"
    assert any(path.stat().st_size for path in partial.iterdir())  # it was in the middle of writing
    calls: list[int] = []
    again = open_pack(source, tmp_path / "killed", progress=lambda done, total: calls.append(done))
    assert calls[-1] == 200
    np.testing.assert_array_equal(again.images.images[every], expected)
    (folder,) = left_in(tmp_path / "killed")
    assert folder.name.startswith("64px-")


@pytest.mark.parametrize("storage", STORAGES)
def test_an_interrupted_builder_stops_at_once_and_leaves_nothing(
    drawn: Path, tmp_path: Path, storage: str
) -> None:
    errors = stop_after(3, signal.SIGINT, storage, tmp_path, drawn)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("steps", few([2, 21], [2]))
def test_a_data_set_whose_drawing_was_killed_is_drawn_again(tmp_path: Path, steps: int) -> None:
    stop_after(steps, signal.SIGKILL, "generate", tmp_path / "killed")
    assert all(path.name.startswith(".") for path in (tmp_path / "killed").iterdir())
    folders = [
        generate_dataset(tmp_path / name, num_images=20, num_val_images=5, seed=0)
        for name in ("killed", "whole")
    ]
    assert contents(folders[0]) == contents(folders[1])
    assert len(contents(folders[0])) == 27


@pytest.mark.parametrize("what", few(["generate", "raw", "jpeg"], ["raw"]))
def test_of_processes_that_ask_at_once_one_builds_and_all_go_on(
    drawn: Path, tmp_path: Path, what: str
) -> None:
    processes = [start_builder(what, tmp_path / what, drawn) for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert [lines[-1] for lines in outputs] == ["end"] * 3
    built = [any(line.isdecimal() for line in lines) for lines in outputs]
    assert sorted(built) == [False, False, True], outputs
    if what != "generate":
        for lines, is_builder in zip(outputs, built, strict=True):
            reported = [line for line in lines if line.startswith("report")]
            is_waiting = any("waiting for another process" in line for line in reported)
            assert is_waiting or is_builder or not reported
            assert any("of raw pixels" in line or "of JPEGs" in line for line in reported) == is_builder


@pytest.mark.faults
@pytest.mark.slow
def test_a_waiting_process_takes_over_when_the_builder_is_killed(drawn: Path, tmp_path: Path) -> None:
    first = start_builder("raw", tmp_path, drawn)
    assert first.stdout is not None
    while not first.stdout.readline().strip().isdecimal():
        assert first.poll() is None
    first.send_signal(signal.SIGSTOP)  # so that it holds the lock when the second asks
    second = start_builder("raw", tmp_path, drawn)
    assert second.stdout is not None
    assert "waiting for another process" in second.stdout.readline()
    first.send_signal(signal.SIGKILL)
    first.communicate()
    output = second.communicate(timeout=60)[0].split()
    assert output[-1] == "end"
    assert "200" in output
    assert [path.suffix for path in left_in(tmp_path)] == [""]


READER = """
import sys
from pathlib import Path
import numpy as np
from spinesearch.data.pack.pack import open_pack
from spinesearch.data.pack.pack_build import PackSource
from spinesearch.data.pack.storage import RawStorage

root = Path(sys.argv[2])
source = PackSource(
    images_dir=root / "train", annotations_path=root / "annotations/instances_train.json",
    image_size=64, storage=RawStorage(),
)
pack = open_pack(source, Path(sys.argv[1]))
print(sum(int(pack.images.images[np.array([i])].sum()) for i in range(200)), flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="needs Linux's /proc/PID/smaps")
def test_processes_share_the_pages_of_a_pack(drawn: Path, tmp_path: Path) -> None:
    open_pack(source_of(drawn), tmp_path)
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(tmp_path), str(drawn)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    sums = [reader.stdout.readline() for reader in readers if reader.stdout is not None]
    assert sums[0] == sums[1] != ""
    for reader in readers:
        smaps = Path(f"/proc/{reader.pid}/smaps").read_text()
        (mapping,) = re.findall(r"^.* \S*images\.raw\n(?:(?![0-9a-f]+-).*\n)+", smaps, re.MULTILINE)
        kib = {name: int(value) for name, value in re.findall(r"^(\w+): +(\d+) kB", mapping, re.MULTILINE)}
        assert kib["Size"] >= 200 * 64 * 64 * 3 // 1024
        # All of it is in memory once: no page is this process's own.
        assert kib["Shared_Clean"] + kib["Shared_Dirty"] == kib["Rss"] == kib["Size"]
        assert kib["Private_Clean"] == kib["Private_Dirty"] == kib["Anonymous"] == 0
    for reader in readers:
        reader.communicate()
