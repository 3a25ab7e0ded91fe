"""``search.rungs``: after how many steps a generation is thinned out, and how far. Plain data, checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

_FORM = "pairs of a number of steps and the share that goes on, such as [[100, 0.33], [300, 0.33]]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """A place at which candidates of a generation are compared, and the best go on.

    Attributes:
        num_steps: length of the training whose metrics are compared.
        share: of those compared, which goes on.
    """

    num_steps: int
    share: float

    def num_kept(self, num_compared: int) -> int:
        """How many go on: the share, rounded up; at least one, if there is any."""
        # Rounded, since 0.07 * 100 is a little more than 7.
        return min(num_compared, max(1, math.ceil(round(self.share * num_compared, 9))))


def parse_rungs(values: Sequence[Any] | None, *, generation_size: int) -> tuple[Rung, ...]:
    """The rungs of a setting, in order; none of null.

    Raises:
        ValueError: they do not rise, or keep nothing or everything.
    """
    if values is None:
        return ()
    if not values or not all(_is_pair(value) for value in values):
        raise ValueError(f"search.rungs: must be null or {_FORM}, got {list(values)}")
    rungs = tuple(Rung(num_steps=steps, share=share) for steps, share in values)
    for earlier, later in pairwise(rungs):
        if later.num_steps <= earlier.num_steps:
            raise ValueError(
                f"search.rungs: the steps must rise, got {later.num_steps} after {earlier.num_steps}"
            )
    num_compared = generation_size
    for rung in rungs:
        if not 0 < rung.share < 1:
            what = "nothing" if rung.share <= 0 else "everything"
            raise ValueError(
                f"search.rungs: a share must lie between 0 and 1, got {rung.share:g} at {rung.num_steps} "
                f"steps, which keeps {what}"
            )
        num_kept = rung.num_kept(num_compared)
        if num_kept == num_compared:
            raise ValueError(
                f"search.rungs: at {rung.num_steps} steps a share of {rung.share:g} keeps all of the "
                f"{num_compared} candidates of a generation that get there; give a smaller share or fewer "
                "rungs, or a larger search.generation_size"
            )
        num_compared = num_kept
    return rungs


def check_rungs(rungs: Sequence[Rung], *, num_steps: int, warmup_steps: int) -> None:
    """Check that rungs lie within a training.

    Raises:
        ValueError: the first ends in its warm-up, or the last does not end before the training does.
    """
    if rungs and rungs[-1].num_steps >= num_steps:
        raise ValueError(
            f"search.rungs: the last rung ends after {rungs[-1].num_steps} steps, which must be fewer than "
            f"the training's {num_steps}; give fewer, or a larger proxy_task.num_steps"
        )
    if rungs and rungs[0].num_steps <= warmup_steps:
        raise ValueError(
            f"search.rungs: the first rung ends after {rungs[0].num_steps} steps, within the "
            f"{warmup_steps} of proxy_task.warmup_steps; give more steps"
        )


def _is_pair(value: Any) -> bool:
    if not isinstance(value, list | tuple) or len(value) != 2:
        return False
    steps, share = value
    is_number = isinstance(share, int | float) and not isinstance(share, bool) and math.isfinite(share)
    return isinstance(steps, int) and not isinstance(steps, bool) and steps >= 1 and is_number
