"""What `make test` leaves to the long suite, `make test-all`: the same tests with more cases."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def few(cases: Iterable[Any], keep: int | Collection[Any]) -> list[Any]:
    """Values of one parameter: some for every run, the others marked slow.

    Args:
        cases: all of them.
        keep: how many of the first, or which, are for every run.
    """
    return [pytest.param(case, marks=_marks(i, case, keep)) for i, case in enumerate(cases)]


def few_rows(rows: Iterable[tuple[Any, ...]], keep: int | Collection[Any]) -> list[Any]:
    """Values of several parameters, a row each: as `few`; rows are named by their first value."""
    return [pytest.param(*row, marks=_marks(i, row[0], keep)) for i, row in enumerate(rows)]


def _marks(i: int, case: Any, keep: int | Collection[Any]) -> tuple[pytest.MarkDecorator, ...]:
    is_kept = i < keep if isinstance(keep, int) else case in keep
    return () if is_kept else (pytest.mark.slow,)
