"""Files that are written whole or not at all, and names for them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: str | bytes | Callable[[Path], object]) -> None:
    """Put a file in place once all of it is written; a file that is there already is replaced.

    A symlink stays one, and the file that it names is written; a pipe or device is written to.

    Args:
        path: of the file, in a folder that exists.
        write: its text; its bytes, which are on disk when this returns; or what writes it to the path it is
            given.

    Raises:
        OSError: it cannot be written; then what was there is there still.
    """
    if path.exists() and not path.is_file():
        # All at once: some formats are not written from their beginning to their end, as a pipe has to be.
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / path.name
            write_whole(whole, write)
            with whole.open("rb") as source, path.open("wb") as target:
                shutil.copyfileobj(source, target)
        return
    place = Path(os.path.realpath(path))
    temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    try:
        if isinstance(write, str):
            temporary.write_text(write, encoding="utf-8")
        elif isinstance(write, bytes):
            with temporary.open("wb") as file:
                file.write(write)
                file.flush()
                os.fsync(file.fileno())
        else:
            temporary.touch()  # fails as the others do, whatever library writes it
            write(temporary)
        os.replace(temporary, place)
    except BaseException as error:
        with contextlib.suppress(OSError):  # such as of the folder, which is gone
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(temporary):
            raise OSError(error.errno, error.strerror, str(path)) from error  # the name that people know
        raise


def remove_torn(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder that no other one writes to now."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def file_name(text: str) -> str:
    """A name of people's as one that is safe in paths and in comments: word characters and ``.+-``."""
    return re.sub(r"[^\w.+-]+", "_", text, flags=re.ASCII).lstrip(".") or "unnamed"
