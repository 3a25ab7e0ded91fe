"""The controller's state on disk: saves replaying a long ledger, and may be deleted at any time."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spinesearch.data.whole_file import remove_torn, write_whole

FOLDER = "controller"


def state_digest(state: Any) -> str:
    """SHA-256 of a controller's state: plain data and tensors, nested in mappings and sequences."""
    digest = hashlib.sha256()
    _feed(digest, state)
    return digest.hexdigest()


class Checkpoints:
    """The newest few states of a run's controller, one file per update.

    Args:
        run_dir: the run's folder.
        keep: how many files stay.
    """

    def __init__(self, run_dir: Path, *, keep: int) -> None:
        self._folder = run_dir / FOLDER
        self._keep = keep

    def save(self, update: int, state: Mapping[str, Any]) -> None:
        """Write the state after an update; the file appears whole or not at all.

        Raises:
            OSError: it could not be written.
        """
        import torch

        # Into memory first: a Ctrl-C or SIGTERM that arrives while torch writes to a file comes out as a
        # RuntimeError of torch's, and the request to stop would be lost.
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        self._folder.mkdir(exist_ok=True)
        remove_torn(self._folder)
        write_whole(self._path(update), buffer.getvalue())
        for number in self._numbers()[: -self._keep]:
            self._path(number).unlink(missing_ok=True)

    def load_newest(self, digests: Mapping[int, str]) -> tuple[int, Mapping[str, Any]] | None:
        """The newest state whose digest is the recorded one, and its update; None if there is none.

        Args:
            digests: by update, those the ledger recorded. A state it does not know, or that does not match,
                is passed over.
        """
        import torch

        for update in reversed(self._numbers()):
            if update not in digests:
                continue
            try:
                state = torch.load(self._path(update), weights_only=True)
                if state_digest(state) != digests[update]:
                    continue
            except Exception:  # torn by a power cut, or damaged: torch.load may raise anything then
                continue
            else:
                return update, state
        return None

    def _path(self, update: int) -> Path:
        return self._folder / f"update-{update:06d}.pt"

    def _numbers(self) -> list[int]:
        if not self._folder.is_dir():
            return []
        matches = (re.fullmatch(r"update-(\d+)\.pt", path.name) for path in self._folder.iterdir())
        return sorted(int(match[1]) for match in matches if match)


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, Mapping):
        digest.update(b"{")
        for key in sorted(value, key=repr):
            digest.update(repr(key).encode())
            _feed(digest, value[key])
        digest.update(b"}")
    elif isinstance(value, list | tuple):
        digest.update(b"[")
        for item in value:
            _feed(digest, item)
        digest.update(b"]")
    elif hasattr(value, "detach"):
        array = value.detach().cpu().numpy()
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    else:
        digest.update(f"{type(value).__name__}:{value!r};".encode())
