"""What passes between the workers of a training on Ray and the command that waits for them: `Relay`."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import ray

from spinesearch.results.ledger.run import Run
from spinesearch.search.workers.trial_resources import NODE_ID


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How a worker's part ended by itself, as opposed to being lost.

    Attributes:
        run: the training, complete; None if something is wrong.
        reason: what is wrong, in one line; empty if the training was stopped.
        is_refused: whether that is something the user gave.
    """

    run: Run | None = None
    reason: str = ""
    is_refused: bool = False


class Relay:
    """An actor on the machine of the command, which workers call."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._endings: dict[int, Ending] = {}
        self._is_stopping = False

    def say(self, text: str) -> None:
        """Take what is to be printed."""
        self._text.append(text)

    def end(self, rank: int, ending: Ending) -> None:
        """Take how a worker ended."""
        self._endings[rank] = ending

    def stop(self) -> None:
        """Have the workers stop at the next step."""
        self._is_stopping = True

    def is_stopping(self) -> bool:
        """Whether they are to stop."""
        return self._is_stopping

    def news(self) -> tuple[str, dict[int, Ending]]:
        """What was said since the last call, and all endings so far, by rank."""
        text, self._text = "".join(self._text), []
        return text, self._endings


def start_relay() -> Any:
    """A handle of a new relay, on this machine."""
    here = {NODE_ID: ray.get_runtime_context().get_node_id()}
    return ray.remote(num_cpus=0, label_selector=here)(Relay).remote()


class RelayedText(io.StringIO):
    """A file whose text is printed by the command.

    Args:
        relay: its handle.
    """

    def __init__(self, relay: Any) -> None:
        super().__init__()
        self._relay = relay

    def write(self, text: str) -> int:
        """Sent, without waiting."""
        self._relay.say.remote(text)
        return len(text)


class StopAsked:
    """Whether the command wants the training stopped, as of the last answer; a call does not wait for one.

    Args:
        relay: its handle.
    """

    def __init__(self, relay: Any) -> None:
        self._relay = relay
        self._answer = relay.is_stopping.remote()
        self._is_stopping = False

    def __call__(self) -> bool:
        """Whether it does."""
        ready, _ = ray.wait([self._answer], timeout=0)
        if ready:
            self._is_stopping = ray.get(self._answer)
            self._answer = self._relay.is_stopping.remote()
        return self._is_stopping
