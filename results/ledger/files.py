"""Where a run keeps what its trainings leave besides the ledger: `file_path`."""

from __future__ import annotations

from pathlib import Path

from spinesearch.results.ledger.trial import FINALISTS

FOLDER = "files"


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
