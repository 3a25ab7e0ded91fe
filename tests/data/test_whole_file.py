"""Files are written whole, where people mean them to be."""

import os
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from spinesearch.data.whole_file import write_whole


def write_zip(path: Path) -> None:
    """A format that goes back in its file, which a pipe does not let it."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("text", "ab")


def test_a_symlink_stays_one_and_what_it_names_is_written(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "target", tmp_path / "link"
    link.symlink_to("folder/target")
    for text in ("new", "replaced"):
        write_whole(link, text)
        assert link.is_symlink()
        assert target.read_text() == text
    assert list((tmp_path / "folder").iterdir()) == [target]


@pytest.mark.parametrize("write", ["ab", b"ab", write_zip])
def test_a_pipe_is_written_to(write: str | bytes | Callable[[Path], object], tmp_path: Path):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        found: list[bytes] = []
        reader = threading.Thread(target=lambda found=found: found.append(pipe.read_bytes()), daemon=True)
        reader.start()
        write_whole(path, write)
        reader.join(10)
        assert b"ab" in found[0]
        assert pipe.is_fifo()
        assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [link, pipe]


@pytest.mark.parametrize("write", ["ab", b"ab", write_zip])
def test_an_error_names_the_file_that_was_asked_for(
    write: str | bytes | Callable[[Path], object], tmp_path: Path
):
    path = tmp_path / "none" / "file"
    with pytest.raises(FileNotFoundError) as failed:
        write_whole(path, write)
    assert failed.value.filename == str(path)
    assert ".tmp" not in str(failed.value)
    with pytest.raises(IsADirectoryError) as failed:
        write_whole(tmp_path, write)
    assert failed.value.filename == str(tmp_path)


def test_an_error_of_another_file_keeps_its_name(tmp_path: Path):
    source = tmp_path / "source"
    with pytest.raises(FileNotFoundError) as failed:
        write_whole(tmp_path / "file", lambda path: path.write_bytes(source.read_bytes()))
    assert failed.value.filename == str(source)
    assert not list(tmp_path.iterdir())
