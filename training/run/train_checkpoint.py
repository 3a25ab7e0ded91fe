"""The state of a long training on disk: the newest two, each whole or not there.

A file is a line of JSON, which says whose state it is and what its bytes come to, and then these bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spinesearch.data.whole_file import remove_torn, write_whole

FOLDER = "checkpoints"
NUM_KEPT = 2
_VERSION = 1
_NAME = re.compile(r"step-(\d{9})\.ckpt")


class CheckpointError(ValueError):
    """A checkpoint is of another training; the message names the file and why."""


class TornCheckpointError(CheckpointError):
    """A checkpoint is cut short or damaged; the message names the file."""


class TrainCheckpoints:
    """The checkpoints of a training.

    Args:
        run_dir: of the training; they are in its folder ``checkpoints``.
        identity: whose state they are, in plain data: what differs from it is another training's.
    """

    def __init__(self, run_dir: Path, identity: Mapping[str, Any]) -> None:
        self._folder = run_dir / FOLDER
        self._identity = dict(identity)

    def save(self, step: int, data: bytes) -> None:
        """Write the state after so many steps; the file is on disk when this returns, or none is.

        Raises:
            OSError: it could not be written; the earlier ones are as before.
        """
        head = {
            "version": _VERSION,
            "step": step,
            "num_bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "identity": self._identity,
        }
        self._folder.mkdir(exist_ok=True)
        remove_torn(self._folder)  # what takes room that this may need
        write_whole(self.path(step), json.dumps(head).encode() + b"\n" + data)
        for old in self.steps()[:-NUM_KEPT]:
            self.path(old).unlink(missing_ok=True)

    def load(self, step: int) -> bytes:
        """What `save` was given for so many steps.

        Raises:
            TornCheckpointError: the file is torn or damaged.
            CheckpointError: it is of another training, or of another release.
        """
        path = self.path(step)
        content = path.read_bytes()
        line, _, data = content.partition(b"\n")
        try:
            head = json.loads(line)
            is_known = head["version"] == _VERSION
            is_whole = head["num_bytes"] == len(data) and head["sha256"] == hashlib.sha256(data).hexdigest()
        except (ValueError, TypeError, KeyError):
            is_known, is_whole = True, False
        if not is_known:
            raise CheckpointError(
                f"{path}: was written by another release (version {head['version']!r}); go on with that one"
            )
        if not is_whole:
            raise TornCheckpointError(f"{path}: is torn or damaged ({len(content):,} bytes are there)")
        different = [key for key, value in self._identity.items() if head["identity"].get(key) != value]
        if different:
            key = different[0]
            theirs = _short(head["identity"].get(key))
            raise CheckpointError(
                f"{path}: is the state of another training: its {key} is {theirs}, this one's "
                f"{_short(self._identity[key])}; remove it, or move it where it belongs"
            )
        return data

    def steps(self) -> list[int]:
        """Numbers of steps after which there is a file, rising."""
        with contextlib.suppress(FileNotFoundError):
            found = (_NAME.fullmatch(path.name) for path in self._folder.iterdir())
            return sorted(int(match[1]) for match in found if match)
        return []

    def path(self, step: int) -> Path:
        """Of the file of the state after so many steps."""
        return self._folder / f"step-{step:09d}.ckpt"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
