"""Who watches a search: `SearchObserver`. What observers write can be derived anew from the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from spinesearch.results.ledger.run import Run, Trial, Update


class SearchObserver:
    """Told of everything that happens in a search, in order; this one does nothing.

    A continued run's earlier trials and updates are not told again: they are in ``run`` at `started`.
    """

    def started(self, run: Run, num_trials: int) -> None:
        """The search begins or goes on; ``run`` keeps changing as it does."""

    def proposed(self, trials: Sequence[Trial]) -> None:
        """A generation was sampled."""

    def finished(self, trial: Trial) -> None:
        """A trial's result is in the ledger."""

    def updated(self, update: Update) -> None:
        """The controller learnt from a generation."""

    def warned(self, message: str) -> None:
        """Something people should know of happened; the search goes on."""

    def ticked(self, num_running: int) -> None:
        """Some time passed; ``num_running`` candidates are being scored."""

    def ended(self) -> None:
        """The search is over or was interrupted."""


class Observers(SearchObserver):
    """Several observers as one."""

    def __init__(self, observers: Sequence[SearchObserver]) -> None:
        self._observers = tuple(observers)

    def started(self, run: Run, num_trials: int) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.started(run, num_trials)

    def proposed(self, trials: Sequence[Trial]) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.proposed(trials)

    def finished(self, trial: Trial) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.finished(trial)

    def updated(self, update: Update) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.updated(update)

    def warned(self, message: str) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.warned(message)

    def ticked(self, num_running: int) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.ticked(num_running)

    def ended(self) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.ended()
