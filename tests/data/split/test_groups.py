"""The group of each image by every rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spinesearch.data.coco.dataset import ImageList
from spinesearch.data.coco.records import nested_text
from spinesearch.data.errors import DataError
from spinesearch.data.ragged import ragged_texts
from spinesearch.data.split.group_rule import parse_group_by
from spinesearch.data.split.groups import group_images


def partition(text: str, names: list[str], records: list[dict[str, Any]] | None = None) -> list[int]:
    """For each name the position of the first of its group; -1 for an image on its own, without a group."""
    rule, count = parse_group_by(text), len(names)
    texts = [nested_text(row, rule.record_field) for row in records or [{}] * count]
    images = ImageList(
        np.arange(count),
        np.ones((count, 2), np.int64),
        ragged_texts(names),
        ragged_texts(texts) if rule.record_field else None,
    )
    groups = group_images(rule, images).tolist()
    return [groups.index(group) if group else -1 for group in groups]


def test_roboflows_names() -> None:
    names = [
        "a_jpg.rf.12.jpg",
        "train/a_jpg.rf.34.jpg",
        "b_jpg.rf.12.jpg",
        "a_jpg.jpg",
        ".rf.1.jpg",
        ".rf.2.jpg",
    ]
    assert partition("picture", names) == [0, 0, 2, -1, -1, -1]


def test_the_name_in_the_record_goes_before_the_files() -> None:
    names = ["1.jpg", "2.jpg", "3.jpg", "x.rf.1.jpg", "x.rf.2.jpg"]
    extras: list[dict[str, Any]] = [
        {"extra": {"name": "shot.jpg"}},
        {"extra": {"name": ""}},
        {"extra": {"name": "shot.jpg"}},
        {"extra": "name"},
        {"extra": {"name": ["shot.jpg"]}},
    ]
    assert partition("picture", names, extras) == [0, -1, 0, 3, 3]


def test_a_regular_expression_takes_its_first_group_or_all_it_matches() -> None:
    names = ["p1_a.jpg", "p1_b.jpg", "./p2_a.jpg", "other.jpg"]
    assert partition(r"re:^(p\d)_(.)", names) == [0, 0, 2, -1]
    assert partition(r"re:p\d", names) == [0, 0, 2, -1]
    assert partition(r"re:^(p2)?", names) == [-1, -1, 2, -1]


def test_fields_may_be_numbers_and_lie_deep() -> None:
    records = [{"a": {"b": 1}}, {"a": {"b": "1"}}, {"a": {"b": 2.5}}, {"a": {"b": None}}, {"a": 1}]
    assert partition("field:a.b", list("12345"), records) == [0, 0, 2, -1, -1]


def test_a_csv_file(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_bytes(
        '\ufeffgroup,site,file_name\r\nanna,1,./a.jpg\r\nanna,1,"b,c.jpg"\r\n\r\nbert,2,x/d.jpg\r\n,2,e.jpg\r\n'.encode()
    )
    assert partition(f"csv:{path}", ["a.jpg", "b,c.jpg", "x//d.jpg", "e.jpg", "f.jpg"]) == [0, 0, 2, -1, -1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"file,group\na.jpg,1\n", r"must name the columns file_name and group, got 'file,group'"),
        (b"", r"must name the columns file_name and group, got ''"),
        (b"file_name,group\na.jpg\n", r"line 2: must have 2 fields as the first, got 1"),
        (
            b"file_name,group\na.jpg,1\n./a.jpg,2\n",
            r"line 3: 'a.jpg' is in group '2', and in '1' on an earlier",
        ),
        (b"file_name,group\nz.jpg,1\n", r"has a group for no image of the data set; .* for example 'a.jpg'"),
        (
            "file_name,group\nä.jpg,1\n".encode("utf-16"),
            r"must be comma-separated text in UTF-8 \(.utf-8. codec",
        ),
        (None, r"cannot be read \(No such file or directory\); give a file with the columns file_name,group"),
    ],
)
def test_csv_files_that_cannot_be_used(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "groups.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"^data\.group_by: csv file {path}: .*{message}"):
        partition(f"csv:{path}", ["a.jpg"])


def test_a_rule_that_says_nothing_of_any_image_is_refused() -> None:
    with pytest.raises(DataError, match=r"data\.group_by: '\^x' matches no file name; .* 'a.jpg'"):
        partition("re:^x", ["a.jpg"])
    with pytest.raises(
        DataError, match=r"data\.group_by: no image record has text or a number in a field 'b'"
    ):
        partition("field:b", ["a.jpg"], [{"b": {}}])
