"""Why candidates failed: reasons counted, alike ones as one."""

from __future__ import annotations

import re
from collections.abc import Iterable

from spinesearch.results.ledger.trial import Trial

_NUMBER = re.compile(r"\d+(\.\d+)?(e[+-]?\d+)?", re.IGNORECASE)


def common_reasons(trials: Iterable[Trial]) -> list[tuple[str, list[Trial]]]:
    """Reasons of failed trials with those who failed for it; commonest first, earlier first among equals.

    Reasons that differ in numbers alone ("diverged at step 7", "at step 90") count as one, in the words
    of the first.
    """
    alike: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.status == "failed":
            alike.setdefault(_NUMBER.sub("#", trial.reason), []).append(trial)
    ranked = sorted(alike.values(), key=lambda group: -len(group))
    return [(group[0].reason or "none given", group) for group in ranked]
