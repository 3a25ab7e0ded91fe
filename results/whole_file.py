"""Files that people are handed, written whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: str | Callable[[Path], object]) -> None:
    """Put a file in place once all of it is written; a file that is there already is replaced.

    Args:
        path: of the file, in a folder that exists.
        write: its text, or what writes it to the path it is given.

    Raises:
        OSError: it cannot be written; then what was there is there still.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if isinstance(write, str):
            temporary.write_text(write, encoding="utf-8")
        else:
            write(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def file_name(text: str) -> str:
    """A name of people's as one that is safe in paths and in comments: word characters and ``.+-``."""
    return re.sub(r"[^\w.+-]+", "_", text, flags=re.ASCII).lstrip(".") or "unnamed"
