"""A COCO annotation file as plain Python data: its bytes, their encoding, the JSON, and the three lists."""

from __future__ import annotations

import contextlib
import json
from array import array
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from spinesearch.data.coco.masks import box_of_mask
from spinesearch.data.coco.records import EXAMPLE, Records, short
from spinesearch.data.errors import DataError
from spinesearch.data.file_kind import HEAD_BYTES, kind_of

_SECTIONS = ("images", "annotations", "categories")


class Document(NamedTuple):
    """The lists of an annotation file, and what is converted of it: what it was, and how often."""

    images: Records
    annotations: Records
    categories: Records
    conversions: Counter[str]

    def conversions_line(self) -> str:
        """All that was converted, in one line; empty if nothing was."""
        parts = [f"{what} ({count})" for what, count in self.conversions.items() if count]
        return f"converted: {', '.join(parts)}" if parts else ""


def read_document(path: Path, *, with_masks: bool = False) -> Document:
    """The annotation file, its three lists present and made of objects.

    UTF-8, UTF-16 and UTF-32 are read, with or without a byte-order mark. Masks are dropped unless requested,
    but the box around one takes the place of a `bbox` that is missing, null or empty, as a tuple.

    Raises:
        DataError: it cannot be read, or is no such file; says what it is where that can be seen.
    """
    conversions: Counter[str] = Counter()
    document = _parsed(path, conversions, _with_mask if with_masks else _without_mask)
    lists: dict[str, Records] = {}
    for name in _SECTIONS:
        rows = document.get(name) if isinstance(document, dict) else None
        if not isinstance(rows, list):
            raise DataError(f"annotation file {path}: has no list {name!r}; {EXAMPLE}")
        if set(map(type, rows)) - {dict}:
            i = next(i for i, row in enumerate(rows) if not isinstance(row, dict))
            raise DataError(f"{path}: {name}[{i}]: must be an object, got {short(rows[i])}; {EXAMPLE}")
        lists[name] = Records(path, name, rows, conversions)
    return Document(**lists, conversions=conversions)


def _parsed(path: Path, conversions: Counter[str], hook: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"annotation file {path}: cannot be read ({reason}); set data.train_annotations, "
            "score_annotations or val_annotations to a file that can"
        ) from error
    encoding = json.detect_encoding(content)
    head = content[:HEAD_BYTES]
    try:
        text = content.decode(encoding)
        del content  # as long as the text, and most of a GB for large data sets
        document = json.loads(text, object_hook=hook)
    except (ValueError, RecursionError) as error:
        if not head.strip():
            raise DataError(f"annotation file {path}: is empty; fetch it again") from error
        if kind := kind_of(head, wanted="annotations"):
            raise DataError(f"annotation file {path}: {kind}") from error
        raise DataError(f"annotation file {path}: not JSON ({error}); {EXAMPLE}") from error
    if not encoding.startswith("utf-8"):
        conversions[f"files in {encoding.upper()}"] += 1
    return document


def _without_mask(row: dict[str, Any]) -> dict[str, Any]:
    """Drops a mask as soon as it is parsed: they are most of COCO's 450 MB and GBs as Python lists."""
    mask = row.pop("segmentation", None)
    if mask and not row.get("bbox") and (box := box_of_mask(mask)):
        row["bbox"] = box
    return row


def _with_mask(row: dict[str, Any]) -> dict[str, Any]:
    """Keeps a mask, whose polygons become arrays: a fifth of the memory of lists."""
    mask = row.get("segmentation")
    row = _without_mask(row)
    if mask:
        if isinstance(mask, list):
            with contextlib.suppress(TypeError):  # what is no number is refused later
                mask = [array("d", part) for part in (mask if isinstance(mask[0], list) else [mask])]
        row["segmentation"] = mask
    return row
