"""The group of each image of a data set by a `GroupRule`: from file names, image records or a CSV file.

N images.
"""

from __future__ import annotations

import csv
import hashlib
import io
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from spinesearch.data.coco.dataset import ImageList, normal_name
from spinesearch.data.coco.read import read_images
from spinesearch.data.errors import DataError
from spinesearch.data.pack.array_folder import add_array, added_array
from spinesearch.data.pack.pack import Pack
from spinesearch.data.ragged import text_of
from spinesearch.data.split.group_rule import GroupRule
from spinesearch.data.split.held_out import Groups

_ADDED = "groups-"  # begins the names of the arrays that are added to a pack
_CSV_COLUMNS = "file_name", "group"
_RF = ".rf."  # Roboflow names copies of shot.jpg shot_jpg.rf.<hash>.jpg


def group_images(rule: GroupRule, images: ImageList, *, must_apply: bool = True) -> Groups:
    """The group of every image; images that the rule says nothing of are on their own.

    Args:
        rule: how images are grouped.
        images: with the `field_texts` of ``rule.record_field``.
        must_apply: refuse a rule of the user's that says nothing of any of these images.

    Raises:
        DataError: the rule's CSV file cannot be used, or the rule applies to no image.
    """
    groups = np.array([_number(text) for text in _group_texts(rule, images)], np.uint64)
    if must_apply and rule.kind in ("re", "field", "csv") and not groups.any():
        raise DataError(_applies_to_none(rule, images))
    return groups


def pack_groups(pack: Pack, rule: GroupRule, known: Mapping[int, int], *, must_apply: bool = True) -> Groups:
    """The groups of a pack's images, from what is known, from beside the pack, or computed and stored there.

    Args:
        pack: N images.
        rule: how they are grouped.
        known: the groups of these images by id, if they were read just now.
        must_apply: as of `group_images`.

    Raises:
        DataError: as `group_images`, or the annotation file has to be read again and cannot be.
    """
    images = pack.dataset.images
    if rule.kind == "id":
        return np.zeros(len(images), np.uint64)
    name = f"{_ADDED}{_digest(rule, pack.content_key)}"
    kept = added_array(pack.folder, name)
    if kept is not None and kept.shape == (len(images),):
        return kept
    if known:
        groups = np.array([known[image_id] for image_id in images.ids.tolist()], np.uint64)
    else:
        groups = group_images(rule, _with_field(pack, rule.record_field), must_apply=must_apply)
    add_array(pack.folder, name, groups)
    return groups


def groups_beside(pack: Pack) -> Iterator[Groups]:
    """Every way in which `pack_groups` has grouped the pack's images before, and first no group at all."""
    num_images = len(pack.dataset.images)
    yield np.zeros(num_images, np.uint64)
    for path in sorted(pack.folder.glob(f"{_ADDED}*.npy")):
        groups = added_array(pack.folder, path.stem)
        if groups is not None and groups.shape == (num_images,):
            yield groups


def _with_field(pack: Pack, field: str) -> ImageList:
    """The pack's images, with a field of their records where one is named, which is not in the pack."""
    dataset = pack.dataset
    if not field:
        return dataset.images
    images = read_images(dataset.images_dir, dataset.annotations_path, image_field=field)
    images = images.select(np.isin(images.ids, dataset.images.ids))
    if len(images) != len(dataset.images):
        raise DataError(
            f"annotation file {dataset.annotations_path}: changed while it was read; give the command again"
        )
    return images


def _digest(rule: GroupRule, content_key: str) -> str:
    """Names what the rule makes of the images of that content."""
    said = _csv_bytes(rule.argument) if rule.kind == "csv" else rule.argument.encode(errors="replace")
    return hashlib.blake2b(
        b"\0".join((content_key.encode(), rule.kind.encode(), said)), digest_size=12
    ).hexdigest()


def _group_texts(rule: GroupRule, images: ImageList) -> list[str]:
    """A text per image, equal for images of one group; empty for an image on its own."""
    names = [normal_name(text_of(name)) for name in images.names]
    match rule.kind:
        case "id":
            return [""] * len(names)
        case "re":
            pattern = re.compile(rule.argument)
            return [_matched(pattern, name) for name in names]
        case "csv":
            table = _csv_table(rule.argument)
            return [table.get(name, "") for name in names]
    assert images.field_texts is not None, "they are read with the field of the rule"
    texts = [text_of(text) for text in images.field_texts]
    if rule.kind == "picture":
        return [
            text or posixpath.basename(name).rpartition(_RF)[0]
            for text, name in zip(texts, names, strict=True)
        ]
    return texts


def _matched(pattern: re.Pattern[str], name: str) -> str:
    """What the pattern's first group matches in the name, or all of it where the pattern has no group."""
    found = pattern.search(name)
    return (found[1 if pattern.groups else 0] or "") if found else ""


def _number(text: str) -> int:
    """A group's number, its hash: the same in every data set and process."""
    if not text:
        return 0
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") or 1


def _csv_bytes(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise DataError(
            f"data.group_by: csv file {path}: cannot be read ({error.strerror or error}); give a file with "
            f"the columns {','.join(_CSV_COLUMNS)}"
        ) from error


def _csv_table(path: str) -> dict[str, str]:
    """Groups by file name.

    Raises:
        DataError: the file cannot be used; names the line.
    """
    where = f"data.group_by: csv file {path}"
    try:
        rows = list(csv.reader(io.StringIO(_csv_bytes(path).decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{where}: must be comma-separated text in UTF-8 ({error}); save it as such"
        ) from error
    header = [name.strip() for name in rows[0]] if rows else []
    if not set(_CSV_COLUMNS) <= set(header):
        raise DataError(
            f"{where}: its first line must name the columns {' and '.join(_CSV_COLUMNS)}, "
            f"got {','.join(header)[:60]!r}"
        )
    columns = [header.index(name) for name in _CSV_COLUMNS]
    table: dict[str, str] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) <= max(columns):
            raise DataError(
                f"{where}: line {number}: must have {len(header)} fields as the first, got {len(row)}"
            )
        name, group = normal_name(row[columns[0]].strip()), row[columns[1]].strip()
        if table.setdefault(name, group) != group:
            raise DataError(
                f"{where}: line {number}: {name!r} is in group {group!r}, and in {table[name]!r} on an "
                "earlier line; give each file one group"
            )
    return table


def _applies_to_none(rule: GroupRule, images: ImageList) -> str:
    example = images[0].file_name
    match rule.kind:
        case "field":
            return (
                f"data.group_by: no image record has text or a number in a field {rule.argument!r}; name one "
                "that they have, with dots between levels (field:extra.patient)"
            )
        case "csv":
            return (
                f"data.group_by: csv file {rule.argument}: has a group for no image of the data set; its "
                f"file_name must be as in the annotations, for example {example!r}"
            )
    return (
        f"data.group_by: {rule.argument!r} matches no file name; change it so that it does, for example "
        f"{example!r}"
    )
