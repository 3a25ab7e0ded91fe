"""What a run keeps of its trainings besides the ledger: `file_path`, `KeptFile`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from spinesearch.results.ledger.trial import FINALISTS

FOLDER = "files"
WEIGHTS_FOLDER = "weights"  # of a long training: its best and last


def file_path(run_dir: Path, trial: int, name: str, *, side: str = "", part: str = "") -> Path:
    """Path of a file of a candidate or, on their side, of a finalist.

    Args:
        run_dir: the run's folder.
        trial: the number of the training on its side.
        name: of the file.
        side: `FINALISTS` for a finalist.
        part: of the training whose file it is, if that has several.
    """
    of = "finalist" if side == FINALISTS else "trial"
    return run_dir / FOLDER / ".".join(filter(None, (f"{of}-{trial:06d}", part, name)))


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptFile:
    """A file of a run.

    Attributes:
        path: where it is, if it still is there.
        digest: its SHA-256 in the ledger.
    """

    path: Path
    digest: str

    def read(self) -> bytes | None:
        """Its content; None if it is gone, or is another than the ledger says."""
        try:
            data = self.path.read_bytes()
        except OSError:
            return None
        return data if digest_of(data) == self.digest else None


def digest_of(data: bytes) -> str:
    """The SHA-256 that the ledger has of a file with this content."""
    return hashlib.sha256(data).hexdigest()
