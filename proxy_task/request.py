"""`TrainingRequest`: what is asked of a candidate's training besides its network and seed. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from spinesearch.proxy_task.result import TaskResult

# The files that a training can be asked for, by the names under which they come.
STATE = "state.pt"  # from which a longer training of the same candidate goes on
DETECTIONS = "detections.npz"  # on the images that are scored on: `spinesearch.training.measure.matched`
WEIGHTS = "weights.safetensors"  # the trained detector's; "weights.json" comes with it


# What a score says besides metrics where a latency was asked for.
LATENCY_MS = "latency_ms"
LATENCY_DEVICE = "latency_device"
INFEASIBLE = "infeasible"  # why the candidate was not trained


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRequest:
    """How far a candidate is trained, from where, and what is to be kept of it.

    As it comes it asks for a whole training of which nothing but the result is kept.

    Attributes:
        num_steps: length of the training, its schedule included, in place of the setting's; None for that.
        state: the file `STATE` of a shorter training of the same candidate, from which this one goes on. The
            result is that of a training from the beginning; it only takes less time.
        wants: which files come back. `STATE` comes only where the schedule allows a longer training to go on
            from it, which constant_decay alone does: it is that of the last step at the constant rate.
        max_latency_ms: the candidate's latency is measured first, and it is not trained if that is more; None
            to measure none.
    """

    num_steps: int | None = None
    state: bytes | None = field(default=None, repr=False)
    wants: frozenset[str] = frozenset()
    max_latency_ms: float | None = None


WHOLE = TrainingRequest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What a training gives.

    Attributes:
        result: its score.
        files: the contents of the files that were asked for, by name.
    """

    result: TaskResult
    files: Mapping[str, bytes]
