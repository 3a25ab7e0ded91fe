"""TensorBoard's writer: what its thread cannot write is raised, and not printed."""

import shutil
import threading
import time
from pathlib import Path

import pytest

from spinesearch.search.watchers.summary_writer import open_summary_writer


@pytest.fixture(autouse=True)
def hook(monkeypatch: pytest.MonkeyPatch) -> list[threading.ExceptHookArgs]:
    """What threads would have printed."""
    printed: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", printed.append)
    return printed


def test_what_cannot_be_written_is_raised_by_the_next_call_alone(tmp_path: Path, hook):
    writer = open_summary_writer(tmp_path / "events")
    open_summary_writer(tmp_path / "others").close()  # the hook is put in place once
    writer.add_scalar("a", 1.0, 0)
    writer.flush()
    shutil.rmtree(tmp_path / "events")

    def write_for_a_while() -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            writer.add_scalar("a", 1.0, 1)
            writer.flush()

    with pytest.raises(FileNotFoundError):
        write_for_a_while()
    assert not hook


def test_other_threads_are_told_of_as_before(tmp_path: Path, hook):
    open_summary_writer(tmp_path).close()

    def fail() -> None:
        raise OSError("of another")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    assert [str(args.exc_value) for args in hook] == ["of another"]
