"""`data.group_by` as it is typed."""

from __future__ import annotations

from typing import Any

import pytest

from spinesearch.data.errors import DataError
from spinesearch.data.split.group_rule import GroupRule, parse_group_by


@pytest.mark.parametrize(
    ("text", "rule", "field"),
    [
        ("picture", GroupRule(kind="picture"), "extra.name"),
        ("id", GroupRule(kind="id"), ""),
        (r"re:^(.*)_\d+:x", GroupRule(kind="re", argument=r"^(.*)_\d+:x"), ""),
        ("field:extra.patient", GroupRule(kind="field", argument="extra.patient"), "extra.patient"),
        ("csv:/a:b/c.csv", GroupRule(kind="csv", argument="/a:b/c.csv"), ""),
    ],
)
def test_every_form(text: str, rule: GroupRule, field: str) -> None:
    assert parse_group_by(text) == rule
    assert str(rule) == text
    assert rule.record_field == field


@pytest.mark.parametrize(
    "value", ["", "pictures", "id:", "id:x", "picture:x", "re:", "field:", "csv:", None, 3]
)
def test_other_forms_are_refused(value: Any) -> None:
    with pytest.raises(
        DataError, match=r"^data\.group_by: must be picture, id, re:PATTERN, .* got "
    ) as error:
        parse_group_by(value)
    assert repr(value) in str(error.value)


def test_what_is_no_pattern_or_field() -> None:
    with pytest.raises(DataError, match=r"re: must be followed by a regular expression, got '\(a' \(missing"):
        parse_group_by("re:(a")
    with pytest.raises(DataError, match=r"must name a field of the image records.* got 'field:a\.\.b'"):
        parse_group_by("field:a..b")
