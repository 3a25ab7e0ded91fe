"""When a candidate is taken to hang: `TrialTimeout`, measured by `PatientClock`."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from spinesearch.results.ledger.trial import Trial
from spinesearch.results.pace import timed_parts, training_time

# Of the median: large and small candidates, fast and slow machines of one cluster differ by some factor each;
# ten leaves room for both, and a frozen worker is still ended.
TIMEOUT_FACTOR = 10.0
# However short the median: what a busy machine, a slow disk or a first compilation may take.
TIMEOUT_FLOOR_S = 300.0
LEAST_COMPLETED = 5  # until then nobody knows what is usual, and the first limit holds
FIRST_LIMIT_S = 1800.0  # enough for most trainings; for longer ones the measured steps count
_REMEMBERED = 101  # candidates the median is of: enough to be steady, few enough to follow a changing cluster
_LONGEST_STEP_S = 60.0  # of time between two looks at the clock; see PatientClock


class TrialTimeout:
    """The time a candidate may take: a fixed one, or a multiple of what is usual or of its own pace.

    What is usual is the median time per training step, and that of what comes on top of the steps, of those
    completed lately; so a longer training has a longer limit.

    Args:
        fixed_s: seconds; None for a limit that follows what is usual.
        num_steps: of a candidate's training; 0 if it has none, as a test's.
        known: trials of the run; those that have completed count as if this process had seen them.
        floor_s: the least limit once it is known what is usual.
        first_s: the least limit until then.
    """

    def __init__(
        self,
        fixed_s: float | None,
        *,
        num_steps: int = 0,
        known: Iterable[Trial] = (),
        floor_s: float = TIMEOUT_FLOOR_S,
        first_s: float = FIRST_LIMIT_S,
    ) -> None:
        self._fixed_s = fixed_s
        self._num_steps = num_steps
        self._floor_s = floor_s
        self._first_s = first_s
        self._step_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._other_s: deque[float] = deque(maxlen=_REMEMBERED)
        for part in timed_parts(known):
            self.completed(part.seconds, part.metrics)

    @property
    def is_fixed(self) -> bool:
        """Whether the limit is a number of seconds that somebody gave."""
        return self._fixed_s is not None

    def completed(self, seconds: float, metrics: Mapping[str, Any]) -> None:
        """Learn how long a candidate took that completed; those that fail may end early.

        Args:
            seconds: in all.
            metrics: its own; ``train_seconds`` and ``num_steps`` are used if they are there.
        """
        step_s, other_s = training_time(seconds, metrics)
        self._step_s.append(step_s)
        self._other_s.append(other_s)

    def limit_s(self, step_s: float | None = None, *, num_steps: int | None = None) -> float:
        """Seconds that a candidate may take.

        Args:
            step_s: seconds per step of its own training, if known: its machine may be slower than most.
            num_steps: of its training, if that is not a whole one.
        """
        num_steps = num_steps or self._num_steps
        if self._fixed_s is not None:
            return self._fixed_s
        limit_s = self._first_s
        if len(self._step_s) >= LEAST_COMPLETED:
            usual_s = statistics.median(self._other_s) + num_steps * statistics.median(self._step_s)
            limit_s = max(self._floor_s, TIMEOUT_FACTOR * usual_s)
        return max(limit_s, TIMEOUT_FACTOR * num_steps * (step_s or 0.0))


class PatientClock:
    """Seconds in which this process was there to watch, for it may have been frozen itself.

    A process that is stopped and continued, as with a paused container, finds its workers' time run out
    though they were stopped too. So a look at the clock counts the time since the last for a minute at most.
    It is the monotonic clock: setting the machine's time changes nothing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self._seconds = 0.0

    def __call__(self) -> float:
        """Seconds since this clock was made."""
        now = self._clock()
        self._seconds += min(now - self._last, _LONGEST_STEP_S)
        self._last = now
        return self._seconds
