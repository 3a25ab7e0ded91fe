"""Who watches a run: `SearchObserver`. What observers write can be derived again from the ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spinesearch.results.ledger.lines import Event
from spinesearch.results.ledger.run import Run


class SearchObserver:
    """Receives everything that happens in a run, in order; this one does nothing.

    A resumed run's earlier events are not repeated: what they amount to is in ``run`` at `started`.
    """

    def started(self, run: Run, num_trials: int) -> None:
        """The run begins or is resumed; ``run`` is kept up to date from here on."""

    def recorded(self, event: Event, run: Run) -> None:
        """An event is in the ledger (`spinesearch.results.ledger.run` lists them) and in ``run``.

        Events that are written together are all in ``run`` by the first of these calls.
        """

    def warned(self, message: str) -> None:
        """Something people should know of happened; the run continues."""

    def ticked(self, num_running: int) -> None:
        """Some time passed; ``num_running`` candidates are being scored."""

    def ended(self) -> None:
        """The run is over or was interrupted."""


class Observers(SearchObserver):
    """Several observers as one."""

    def __init__(self, observers: Sequence[SearchObserver]) -> None:
        self._observers = tuple(observers)

    def started(self, run: Run, num_trials: int) -> None:
        """Pass on."""
        self._each(lambda observer: observer.started(run, num_trials))

    def recorded(self, event: Event, run: Run) -> None:
        """Pass on."""
        self._each(lambda observer: observer.recorded(event, run))

    def warned(self, message: str) -> None:
        """Pass on."""
        self._each(lambda observer: observer.warned(message))

    def ticked(self, num_running: int) -> None:
        """Pass on."""
        self._each(lambda observer: observer.ticked(num_running))

    def ended(self) -> None:
        """Pass on."""
        self._each(lambda observer: observer.ended())

    def _each(self, call: Callable[[SearchObserver], None]) -> None:
        for observer in self._observers:
            call(observer)
