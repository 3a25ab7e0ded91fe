"""The scorers of a run's sides, of which one is open at a time: `Scorers`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Self

from spinesearch.search.scoring.scorer import Scorer

OpenScorer = Callable[[str], AbstractContextManager[Scorer]]
"""Opens the engine of a side."""


class Scorers:
    """Opens the scorer of a side when it is first needed, and closes the one before.

    Args:
        open_scorer: of a side; a search has only the side ``""``.
    """

    def __init__(self, open_scorer: OpenScorer) -> None:
        self._open_scorer = open_scorer
        self._opened = ExitStack()
        self._current: tuple[str, Scorer] | None = None

    def of(self, side: str) -> Scorer:
        """The scorer of a side, open.

        Raises:
            ValueError, EngineError: it cannot be opened.
        """
        if self._current is None or self._current[0] != side:
            self.close()
            self._current = side, self._opened.enter_context(self._open_scorer(side))
        return self._current[1]

    def close(self) -> None:
        """Close the scorer that is open; further calls do nothing."""
        self._current = None
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
