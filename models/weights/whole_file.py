"""Whether a safetensors file is complete, by its header: copies may break off. And why it is not written."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

_LENGTH_BYTES = 8  # the header's length, little-endian, before the header
_MAX_HEADER_BYTES = 100_000_000  # safetensors reads no longer one
_AGAIN = "download or copy it again"
_ARCHIVES = ((b"PK\x03\x04", "a ZIP archive, as torch.save writes, too"), (b"\x1f\x8b", "compressed by gzip"))


def check_whole(path: Path) -> None:
    """Returns if nothing shows that the file breaks off or another stands in its place.

    Raises:
        ValueError: it is cut short, a Git LFS pointer, an HTML page or an archive; the message names it.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(512)
        if head.startswith(b"version https://git-lfs"):
            raise ValueError(
                f"{path}: is a Git LFS pointer, not the weights it stands for; fetch them with git lfs pull"
            )
        if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
            raise ValueError(f"{path}: is an HTML page, as a server answers in place of a file; {_AGAIN}")
        for magic, what in _ARCHIVES:
            if head.startswith(magic) and head[_LENGTH_BYTES : _LENGTH_BYTES + 1] != b"{":
                raise ValueError(f"{path}: is {what}; give the safetensors file itself")
        if size == 0:
            raise ValueError(f"{path}: is empty; {_AGAIN}")
        needed = _LENGTH_BYTES
        length = int.from_bytes(head[:_LENGTH_BYTES], "little")
        if size >= needed:
            if head[_LENGTH_BYTES : _LENGTH_BYTES + 1] not in (b"{", b"") or length > _MAX_HEADER_BYTES:
                return  # no safetensors file, which its reader reports
            needed += length
        if size >= needed:
            file.seek(_LENGTH_BYTES)
            needed += _data_bytes(file.read(length))
    if size < needed:
        raise ValueError(f"{path}: is cut short, {size:,} of at least {needed:,} bytes are there; {_AGAIN}")


def _data_bytes(header: bytes) -> int:
    """The bytes that a header says of all tensors; 0 if it is none."""
    try:
        rows = [row for name, row in json.loads(header).items() if name != "__metadata__"]
        return max((int(row["data_offsets"][1]) for row in rows), default=0)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return 0


def write_error(path: Path, error: Exception) -> OSError:
    """What is raised when a file is not written: with the system's number, which safetensors has in words."""
    if isinstance(error, OSError):
        number = error.errno
    else:
        found = re.search(r"\(os error (\d+)\)", str(error))
        number = int(found[1]) if found else None
    if number is None:
        return OSError(f"{path}: cannot be written: {error}")
    return OSError(number, os.strerror(number), str(path))
