"""What a search's configuration says of its finalists, as what carries them out takes it."""

from __future__ import annotations

import json
from dataclasses import asdict

from spinesearch.search.config.finalist_config import finalist_config
from spinesearch.search.config.run_config import FREE_PROXY_SETTINGS, RunConfig
from spinesearch.search.loop.finalists import FinalistPlan


def finalist_plan(config: RunConfig) -> FinalistPlan:
    """How the best of a search are ranked again.

    Raises:
        ConfigError: as `finalist_config`.
    """
    settings = finalist_config(config)
    deciding = {k: v for k, v in asdict(settings.proxy_task).items() if k not in FREE_PROXY_SETTINGS}
    return FinalistPlan(
        num_finalists=settings.search.finalists,
        seeds=tuple((settings.seed + i) % 2**63 for i in range(1, settings.search.finalist_seeds + 1)),
        proxy_task=json.loads(json.dumps(deciding)),  # lists for tuples, as a ledger gives them back
        metric=settings.search.finalist_metric,
    )
