"""When a candidate is taken to hang: `TrialTimeout`, measured by `PatientClock`."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable

# Of the median: large and small candidates, fast and slow machines of one cluster differ by some factor each;
# ten leaves room for both, and a frozen worker is still ended.
TIMEOUT_FACTOR = 10.0
# However short the median: what a busy machine, a slow disk or a first compilation may take.
TIMEOUT_FLOOR_S = 300.0
LEAST_COMPLETED = 5  # until then nobody knows what is usual, and nothing is ended
_REMEMBERED = 101  # candidates the median is of: enough to be steady, few enough to follow a changing cluster
_LONGEST_STEP_S = 60.0  # of time between two looks at the clock; see PatientClock


class TrialTimeout:
    """The time a candidate may take: a fixed one, or a multiple of the median of those completed lately.

    Args:
        fixed_s: seconds; None for a multiple of the median.
        floor_s: the least multiple.
    """

    def __init__(self, fixed_s: float | None, *, floor_s: float = TIMEOUT_FLOOR_S) -> None:
        self._fixed_s = fixed_s
        self._floor_s = floor_s
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)

    def completed(self, seconds: float) -> None:
        """Learn how long a candidate took that completed; those that fail may end early."""
        self._seconds.append(seconds)

    @property
    def limit_s(self) -> float | None:
        """Seconds; None while too few have completed to tell."""
        if self._fixed_s is not None:
            return self._fixed_s
        if len(self._seconds) < LEAST_COMPLETED:
            return None
        return max(self._floor_s, TIMEOUT_FACTOR * statistics.median(self._seconds))


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
