"""Processes that a command started somewhere below it, found by a mark in the environment they inherit."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from subprocess import Popen

MARK = "SPINESEARCH_TEST_MARK"


def marked_pids(mark: str, word: str) -> list[int]:
    """Those with this mark whose command line has this word."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                has_word = word.encode() in (folder / "cmdline").read_bytes()
                if has_word and f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:  # it has ended, or is another's
                continue
    return found


def kill_marked(mark: str) -> None:
    """SIGKILL for all of them, until none is left."""
    while pids := marked_pids(mark, ""):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)


def wait_for_checkpoint(run_dir: Path, process: Popen[str]) -> None:
    """Return once the training that the process carries out has left a checkpoint."""
    folder = run_dir / "checkpoints"
    end = time.monotonic() + 500
    while not (folder.is_dir() and any(path.suffix == ".ckpt" for path in folder.iterdir())):
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.05)
