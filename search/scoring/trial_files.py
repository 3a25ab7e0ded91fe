"""What trainings leave in a run's folder besides the ledger: `TrialFiles`.

``<run>/files/trial-000123.weights.safetensors`` is a file of trial 123, ``finalist-000003...`` one of
finalist 3. The ledger's event of the training
holds its SHA-256; a file that is not what that says is as good as none. Files may be deleted at any time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from pathlib import Path

from spinesearch.data.whole_file import remove_torn, write_whole
from spinesearch.results.ledger.files import FOLDER, KeptFile, digest_of, file_path
from spinesearch.results.ledger.trial import Trial


class TrialFiles:
    """The files of a run's trials.

    Args:
        run_dir: the run's folder.
        warn: receives one line about a file that could not be written: the run goes on without it.
    """

    def __init__(self, run_dir: Path, warn: Callable[[str], None]) -> None:
        self._run_dir = run_dir
        self._warn = warn

    def write(
        self, trial: int, files: Mapping[str, bytes], *, side: str = "", part: str = ""
    ) -> dict[str, str]:
        """Write files of a trial; their digests by name, of those that could be written.

        Args:
            trial: its number.
            files: contents by name. Each appears whole or not at all, in place of an earlier one.
            side: of a finalist, see `file_path`.
            part: of the training whose files they are, if the trial has several.
        """
        digests = {}
        for name, data in files.items():
            path = file_path(self._run_dir, trial, name, side=side, part=part)
            try:
                path.parent.mkdir(exist_ok=True)
                write_whole(path, data)
            except OSError as error:
                self._warn(f"trial {trial}: {path} could not be written: {error.strerror}")
            else:
                digests[name] = digest_of(data)
        return digests

    def kept(self, trial: int, name: str, digest: str, *, part: str = "") -> KeptFile:
        """A file of a trial, whether it is still there or not."""
        return KeptFile(path=file_path(self._run_dir, trial, name, part=part), digest=digest)

    def remove(self, trial: int, name: str, *, part: str = "") -> None:
        """Remove a file of a trial, if it is there."""
        try:
            file_path(self._run_dir, trial, name, part=part).unlink(missing_ok=True)
        except OSError as error:
            self._warn(f"trial {trial}: {name} could not be removed: {error.strerror}")

    def sweep(self, name: str, trials: Container[int]) -> None:
        """Remove all files of this name but those of these trials, and what a kill left half-written."""
        folder = self._run_dir / FOLDER
        remove_torn(folder)
        for path in folder.iterdir() if folder.is_dir() else ():
            found = re.fullmatch(rf"trial-(\d+)\.(.*\.)?{re.escape(name)}", path.name)
            if found and int(found[1]) not in trials:
                path.unlink(missing_ok=True)


def kept_reader(run_dir: Path, name: str) -> Callable[[Trial], bytes | None]:
    """Reads the file of this name that a trial of the run left; None where there is none (any more)."""
    files = TrialFiles(run_dir, lambda line: None)

    def read(trial: Trial) -> bytes | None:
        digest = trial.files.get(name)
        return None if digest is None else files.kept(trial.trial, name, digest).read()

    return read
