"""One side's engine at a time, as two of them would ask for the same processors."""

import contextlib
from collections.abc import Iterator

import pytest
from fake_scorer import FakeScorer

from spinesearch.search.scoring.scorer import Scorer
from spinesearch.search.scoring.scorers import Scorers


def test_a_side_is_opened_when_it_is_needed_and_the_one_before_is_closed_first():
    calls: list[str] = []

    @contextlib.contextmanager
    def open_scorer(side: str) -> Iterator[Scorer]:
        calls.append(f"open {side}")
        yield FakeScorer()
        calls.append(f"close {side}")

    with Scorers(open_scorer) as scorers:
        assert calls == []
        first = scorers.of("a")
        assert scorers.of("a") is first
        second = scorers.of("b")
        assert second is not first
        assert calls == ["open a", "close a", "open b"]
    assert calls == ["open a", "close a", "open b", "close b"]


def test_an_error_closes_what_is_open_and_one_that_cannot_be_opened_leaves_nothing():
    calls: list[str] = []

    @contextlib.contextmanager
    def open_scorer(side: str) -> Iterator[Scorer]:
        if side == "b":
            raise ValueError("no cluster")
        try:
            yield FakeScorer()
        finally:
            calls.append(f"close {side}")

    scorers = Scorers(open_scorer)
    scorers.of("a")
    with pytest.raises(ValueError, match="no cluster"):
        scorers.of("b")
    assert calls == ["close a"]
    scorers.close()
    assert calls == ["close a"]
