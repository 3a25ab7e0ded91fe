"""A folder of arrays and one JSON file of facts, written once and mapped into memory by many processes."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_FACTS = "meta.json"
_FILES = "files"


def save_array(folder: Path, name: str, array: npt.NDArray[Any]) -> None:
    """Writes one array into the folder and onto the disk."""
    with open(folder / f"{name}.npy", "wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)
        os.fsync(file.fileno())


def add_array(folder: Path, name: str, array: npt.NDArray[Any]) -> None:
    """Adds an array that can be made again to a folder that is sealed, or does nothing where that fails.

    Several processes may do so at once: each puts a whole file in place.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{name}-", delete=False) as file:
            try:
                np.save(file, np.ascontiguousarray(array), allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, folder / f"{name}.npy")
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError:
        pass


def added_array(folder: Path, name: str) -> npt.NDArray[Any] | None:
    """An array of the folder that may be missing or damaged: then None."""
    try:
        return open_array(folder, name)
    except (OSError, ValueError, EOFError):
        return None


def seal(folder: Path, facts: Mapping[str, Any]) -> None:
    """Writes the facts, and the length of each file beside them, from which `read_facts` knows damage."""
    lengths = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    with open(folder / _FACTS, "w", encoding="utf-8") as file:
        json.dump({**facts, _FILES: lengths}, file)
        file.flush()
        os.fsync(file.fileno())


def read_facts(folder: Path) -> dict[str, Any] | None:
    """The facts of a folder that `seal` has finished; None when it is not there, or not as it was left."""
    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        lengths = facts[_FILES].items()
        if all((folder / name).stat().st_size == length for name, length in lengths):
            return dict(facts)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return None


def open_array(folder: Path, name: str) -> npt.NDArray[Any]:
    """One array of the folder, read-only and paged in as it is read."""
    array: npt.NDArray[Any] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    return array
